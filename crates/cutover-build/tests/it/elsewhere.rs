//! What comes from elsewhere: URLs and repositories of ADD, contexts that are no directory, named
//! contexts. HTTP is answered by a table, repositories by git's own daemon on the loopback.

use std::collections::BTreeMap;
use std::io::{Read as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use cutover_build::{
    BuildError, BuildOptions, Built, ContextSource, DockerfileSource, FetchRequest, Fetched,
    Fetcher, NamedContext, PullError, Puller, Quiet, RuntimeRunner, Secret, World, build, prepare,
};
use cutover_core::Reference;
use cutover_core::oci::Platform;
use cutover_runtime::net::Networks;
use cutover_store::Image;

use crate::support::Lab;

/// Pages by address, and what was asked for.
#[derive(Default)]
struct Pages {
    pages: Mutex<BTreeMap<String, Vec<u8>>>,
    asked: Mutex<Vec<String>>,
}

impl Pages {
    fn set(&self, url: &str, body: impl Into<Vec<u8>>) {
        self.pages.lock().unwrap().insert(url.to_owned(), body.into());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Fetcher for Pages {
    fn fetch(
        &self,
        request: &FetchRequest<'_>,
        to: &mut (dyn Write + Send),
    ) -> Result<Fetched, Box<dyn std::error::Error + Send + Sync>> {
        let said = match (request.etag, request.authorization) {
            (Some(etag), _) => format!("{} if not {etag}", request.url),
            (None, Some(secret)) => format!("{} as {secret}", request.url),
            (None, None) => request.url.to_owned(),
        };
        self.asked.lock().unwrap().push(said);
        let pages = self.pages.lock().unwrap();
        let body = pages.get(request.url).ok_or("no such page")?;
        let etag = cutover_core::Digest::sha256(body).short().to_owned();
        let unchanged = request.etag == Some(&etag);
        if !unchanged {
            to.write_all(body)?;
        }
        Ok(Fetched { unchanged, etag: Some(etag), last_modified: Some(1_000_000_000) })
    }
}

struct NoRegistry;

impl Puller for NoRegistry {
    fn pull(&self, reference: &Reference, _platform: &Platform) -> Result<Image, PullError> {
        Err(PullError { reference: reference.clone(), source: "there is no registry here".into() })
    }
}

/// Builds with these pages. A context that is given is prepared first, and has the Dockerfile
/// unless `text` is one.
fn run(
    lab: &Lab,
    pages: &Pages,
    options: &BuildOptions,
    (context, text): (Option<&ContextSource>, Option<&str>),
) -> Result<Built, BuildError> {
    cutover_runtime::sys::own_exe::accept_unprotected();
    let networks = Networks::open(&lab.root, &lab.root.join("run")).unwrap();
    let world = World {
        store: &lab.store,
        progress: &Quiet,
        runner: &RuntimeRunner::new(&lab.root, &lab.root.join("run"), networks),
        puller: &NoRegistry,
        fetcher: pages,
        clock: &|| Duration::ZERO,
    };
    let mut options = options.clone();
    if let Some(text) = text {
        options.dockerfile = DockerfileSource::Inline(text.as_bytes().to_vec());
    }
    let _prepared = context.map(|source| prepare(&mut options, source, &world)).transpose()?;
    build(&options, &world)
}

fn add(lab: &Lab, pages: &Pages, text: &str) -> Result<Built, BuildError> {
    run(lab, pages, &lab.options, (None, Some(text)))
}

/// Whether the image has `path`.
fn exists(lab: &Lab, path: &str) -> bool {
    let layers = lab.store.snapshots().lowers(&lab.image()).unwrap();
    layers.iter().any(|layer| layer.join(path).symlink_metadata().is_ok())
}

/// An error with its causes.
fn chain(error: &BuildError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// A tar.gz with these files.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o640);
        header.set_uid(5);
        header.set_gid(6);
        tar.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

// === ADD of URLs ===

#[test]
fn a_file_over_http() {
    let (lab, pages) = (Lab::empty(), Pages::default());
    pages.set("http://h/dir/file.txt?v=1", "one");
    pages.set("http://h/x.tar.gz", archive(&[("inside", "x")]));
    let text = "FROM scratch
        ADD http://h/dir/file.txt?v=1 /d/
        ADD --chmod=644 --chown=7:8 http://h/dir/file.txt?v=1 /named
        ADD http://h/x.tar.gz /packed/
        ADD --unpack=true http://h/x.tar.gz /unpacked
        ";
    add(&lab, &pages, text).unwrap();
    let meta = fs_err::metadata(lab.file("d/file.txt")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o600, 0));
    let meta = fs_err::metadata(lab.file("named")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o644, 7, 8));
    assert_eq!(lab.read("named"), "one");
    assert!(lab.file("packed/x.tar.gz").exists() && lab.file("unpacked/inside").exists());
    let created = &lab.image().config.history[0].created_by;
    assert_eq!(created.as_deref(), Some("ADD http://h/dir/file.txt?v=1 /d/ # buildkit"));
    assert_eq!(pages.asked().len(), 2, "each address is asked once in a build");
}

#[test]
fn a_kept_file_is_asked_for_with_its_mark() {
    let (lab, pages) = (Lab::empty(), Pages::default());
    let text = "FROM scratch\nADD http://h/f /f";
    pages.set("http://h/f", "one");
    assert_eq!(add(&lab, &pages, text).unwrap().executed, 1);
    pages.asked();
    assert_eq!(add(&lab, &pages, text).unwrap().cached, 1);
    let asked = pages.asked();
    assert!(asked.len() == 1 && asked[0].starts_with("http://h/f if not "), "{asked:?}");
    pages.set("http://h/f", "two");
    assert_eq!(add(&lab, &pages, text).unwrap().executed, 1);
    assert_eq!(lab.read("f"), "two");
}

#[test]
fn checksums_are_checked_and_save_the_question() {
    let (lab, pages) = (Lab::empty(), Pages::default());
    pages.set("http://h/f", "one");
    let digest = cutover_core::Digest::sha256(b"one");
    let text = format!("FROM scratch\nARG d={digest}\nADD --checksum=$d http://h/f /f");
    add(&lab, &pages, &text).unwrap();
    pages.asked();
    add(&lab, &pages, &text).unwrap();
    assert_eq!(pages.asked(), [""; 0]);
    let wrong = text.replace(digest.hex(), &"0".repeat(64));
    let error = chain(&add(&lab, &pages, &wrong).unwrap_err());
    assert!(error.contains(&format!("digest mismatch for `http://h/f`: {digest}")), "{error}");
    let error =
        |line: &str| chain(&add(&lab, &pages, &format!("FROM scratch\n{line}")).unwrap_err());
    assert!(error("ADD --checksum=sha256:12 http://h/f /f").contains("is not a digest"));
    assert!(error(&format!("ADD --checksum={digest} f /f")).contains("requires HTTP(S) or Git"));
    assert!(
        error(&format!("ADD --checksum={digest} http://h/f http://h/g /f/")).contains("multiple")
    );
    assert!(error("ADD http://h/missing /f").contains("failed to get `http://h/missing`"));
    // The Dockerfile's own line says it; nothing else does.
    assert!(error("ADD http://me:pass@h/missing /f").contains("get `http://***@h/missing`"));
}

#[test]
fn secrets_prove_who_asks() {
    let (mut lab, pages) = (Lab::empty(), Pages::default());
    pages.set("http://h:1/f", "x");
    lab.options.secrets.insert("HTTP_AUTH_TOKEN_h:1".into(), Secret(b"tok\n".to_vec()));
    add(&lab, &pages, "FROM scratch\nADD http://h:1/f /f").unwrap();
    assert_eq!(pages.asked(), ["http://h:1/f as Bearer tok"]);
    let mut names = String::new();
    for file in fs_err::read_dir(lab.root.join("build/http")).unwrap() {
        let path = file.unwrap().path();
        names.push_str(&format!("{path:?}"));
        fs_err::File::open(&path).unwrap().read_to_string(&mut names).unwrap();
    }
    assert!(!names.contains("tok"), "{names}");
}

// === repositories ===

/// A repository and git's daemon in front of it.
struct Daemon {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Daemon {
    fn url(&self, name: &str) -> String {
        format!("git://127.0.0.1:{}/{name}", self.port)
    }

    fn git(&self, name: &str, words: &[&str]) -> String {
        git(&self.dir.path().join(name), words)
    }
}

fn git(dir: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=n", "-c", "user.email=e", "-c", "protocol.file.allow=always"])
        .args(words)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_COMMITTER_DATE", "1234567890 +0000")
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
/// `repo`: two commits on `main`, the first one tagged `v1`, and another branch.
fn daemon() -> Option<Daemon> {
    if Command::new("git").arg("version").output().is_err() {
        eprintln!("skipped: `git` is not on this machine");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo");
    fs_err::create_dir_all(repo.join("sub")).unwrap();
    git(&repo, &["init", "--quiet", "-b", "main"]);
    let commit = |content: &str| {
        fs_err::write(repo.join("file"), content).unwrap();
        fs_err::write(repo.join("sub/deep"), content).unwrap();
        fs_err::write(repo.join("Dockerfile"), "FROM scratch\nCOPY file /from-git\n").unwrap();
        fs_err::write(repo.join(".dockerignore"), "file\n").unwrap();
        git(&repo, &["add", "-A"]);
        git(&repo, &["commit", "--quiet", "-m", content]);
    };
    commit("one");
    git(&repo, &["tag", "-a", "v1", "-m", "v1"]);
    git(&repo, &["branch", "other"]);
    commit("two");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // Not `git daemon`: that would be the daemon's parent, and the one that is killed.
    let program = Path::new(&git(dir.path(), &["--exec-path"])).join("git-daemon");
    let mut child = Command::new(program)
        .args(["--reuseaddr", "--export-all", "--verbose", "--listen=127.0.0.1"])
        .arg(format!("--port={port}"))
        .arg(format!("--base-path={}", dir.path().display()))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says "Ready to rumble".
    let mut said = [0; 16];
    child.stderr.as_mut().unwrap().read_exact(&mut said).unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "git daemon ended");
    }
    Some(Daemon { child, port, dir })
}

#[test]
fn a_repository_is_added() {
    let Some(daemon) = daemon() else { return };
    let (lab, pages) = (Lab::empty(), Pages::default());
    let url = daemon.url("repo");
    let text = format!(
        "FROM scratch
        ADD {url} /head
        ADD {url}#v1 /tag
        ADD {url}#other:sub /sub
        ADD --keep-git-dir=true {url}#main /kept/
        ADD {url}?branch=other&subdir=sub /query
        "
    );
    let built = add(&lab, &pages, &text).unwrap();
    assert_eq!(built.executed, 5);
    assert_eq!(lab.read("head/file"), "two");
    assert_eq!(lab.read("tag/file"), "one");
    assert_eq!((lab.read("sub/deep"), lab.read("query/deep")), ("one".into(), "one".into()));
    assert!(lab.file("kept/.git/HEAD").exists() && !exists(&lab, "head/.git"));
    let config = lab.read("kept/.git/config");
    assert!(config.contains(&url) && !config.contains(lab.root.to_str().unwrap()), "{config}");
    let meta = fs_err::metadata(lab.file("head/file")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o644, 0));
    assert_eq!(add(&lab, &pages, &text).unwrap().cached, 5);
    // A branch that moves is another commit; a tag and the rest stay.
    fs_err::write(daemon.dir.path().join("repo/file"), "three").unwrap();
    daemon.git("repo", &["commit", "--quiet", "-am", "three"]);
    let built = add(&lab, &pages, &text).unwrap();
    assert_eq!(lab.read("head/file"), "three");
    assert_eq!(built.executed, 5, "what is below them changed");
}

#[test]
fn commits_are_checked() {
    let Some(daemon) = daemon() else { return };
    let (lab, pages) = (Lab::empty(), Pages::default());
    let url = daemon.url("repo");
    let first = daemon.git("repo", &["rev-parse", "other"]);
    let add = |line: &str| {
        let built = add(&lab, &pages, &format!("FROM scratch\nADD {line} /x"));
        built.map(|_| ()).map_err(|error| chain(&error))
    };
    add(&format!("--checksum={} {url}#v1", &first[..12])).unwrap();
    add(&format!("{url}#{first}")).unwrap();
    add(&format!("{url}?ref=v1&checksum={first}")).unwrap();
    let error = add(&format!("--checksum={first} {url}#main")).unwrap_err();
    assert!(error.contains(&format!("expected checksum to match {first}")), "{error}");
    let error = add(&format!("{url}#nope")).unwrap_err();
    assert!(error.contains("has no `nope`"), "{error}");
    let error = add(&format!("{url}#main:nope")).unwrap_err();
    assert!(error.contains("has no directory `nope`"), "{error}");
    let error = add(&format!("{}#main", daemon.url("missing"))).unwrap_err();
    assert!(error.contains("git ls-remote"), "{error}");
    let error = add("file:///etc").unwrap_err();
    assert!(error.contains("not found"), "a Dockerfile names no files of the machine: {error}");
}

#[test]
fn submodules_come_along_unless_they_are_local() {
    let Some(daemon) = daemon() else { return };
    let (lab, pages) = (Lab::empty(), Pages::default());
    daemon.git("repo", &["submodule", "--quiet", "add", &daemon.url("repo"), "module"]);
    daemon.git("repo", &["commit", "--quiet", "-m", "module"]);
    let url = daemon.url("repo");
    add(&lab, &pages, &format!("FROM scratch\nADD {url} /x\nADD {url}?submodules=false /y"))
        .unwrap();
    assert_eq!(lab.read("x/module/file"), "two");
    assert!(!exists(&lab, "x/module/.git") && !exists(&lab, "y/module/file"));
    let secret = lab.context.with_file_name("secret");
    fs_err::create_dir(&secret).unwrap();
    git(&secret, &["init", "--quiet"]);
    git(&secret, &["commit", "--quiet", "--allow-empty", "-m", "x"]);
    daemon.git("repo", &["submodule", "--quiet", "add", secret.to_str().unwrap(), "stolen"]);
    daemon.git("repo", &["commit", "--quiet", "-m", "stolen"]);
    let error = chain(&add(&lab, &pages, &format!("FROM scratch\nADD {url} /x")).unwrap_err());
    assert!(error.contains("transport 'file' not allowed"), "{error}");
}

// === the main context ===

#[test]
fn a_repository_as_the_context() {
    let Some(daemon) = daemon() else { return };
    let (lab, pages) = (Lab::empty(), Pages::default());
    let context = |text: String| ContextSource::parse(&text).unwrap();
    let build = |source: &ContextSource| run(&lab, &pages, &lab.options, (Some(source), None));
    build(&context(daemon.url("repo"))).unwrap();
    assert_eq!(lab.read("from-git"), "two", "the ignore file of a repository does not count");
    let file = format!("file://{}#v1", daemon.dir.path().join("repo").display());
    build(&context(file)).unwrap();
    assert_eq!(lab.read("from-git"), "one");
    let missing = build(&context(format!("{}#:sub", daemon.url("repo")))).unwrap_err();
    assert!(matches!(missing, BuildError::NoDockerfile { .. }), "{missing}");
    let options = BuildOptions {
        dockerfile: DockerfileSource::Path(PathBuf::from("sub/deep")),
        ..lab.options.clone()
    };
    let error =
        run(&lab, &pages, &options, (Some(&context(daemon.url("repo"))), None)).unwrap_err();
    assert!(chain(&error).contains("`TWO`"), "`-f` is in the repository: {error}");
    let left =
        fs_err::read_dir(lab.root.join("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_str().unwrap().starts_with("remote-")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn archives_as_the_context() {
    let (lab, pages) = (Lab::empty(), Pages::default());
    let files = [("Dockerfile", "FROM scratch\nCOPY f /f\n"), ("f", "x"), (".dockerignore", "f")];
    let bytes = archive(&files);
    pages.set("http://h/context.tgz", bytes.clone());
    pages.set("http://h/Dockerfile", "FROM scratch\nCOPY <<E /e\nhi\nE\n");
    let local = lab.context.with_file_name("context.tar.gz");
    fs_err::write(&local, bytes).unwrap();
    let build = |source: ContextSource, text: Option<&str>| {
        run(&lab, &pages, &lab.options, (Some(&source), text))
    };
    build(ContextSource::File(local.clone()), None).unwrap();
    let meta = fs_err::metadata(lab.file("f")).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid()),
        (0o640, 5, 6),
        "owners are the archive's"
    );
    build(ContextSource::Remote("http://h/context.tgz".into()), None).unwrap();
    build(ContextSource::Remote("http://h/Dockerfile".into()), None).unwrap();
    assert_eq!(lab.read("e"), "hi\n");
    build(ContextSource::File(local), Some("FROM scratch\nCOPY f /other")).unwrap();
    assert_eq!(lab.read("other"), "x");
}

#[test]
fn links_of_a_fetched_context_stay_inside() {
    let (lab, pages) = (Lab::empty(), Pages::default());
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "Dockerfile", "/etc/passwd").unwrap();
    let local = lab.context.with_file_name("context.tar");
    fs_err::write(&local, tar.into_inner().unwrap()).unwrap();
    let error =
        run(&lab, &pages, &lab.options, (Some(&ContextSource::File(local)), None)).unwrap_err();
    assert!(matches!(error, BuildError::NoDockerfile { .. }), "{error}");
}

// === named contexts ===

fn named(lab: &mut Lab, name: &str, value: &str) {
    lab.options.contexts.add(name, NamedContext::parse(value).unwrap()).unwrap();
}

#[test]
fn directories_stand_for_images_and_stages() {
    let (mut lab, pages) = (Lab::new(), Pages::default());
    let dir = lab.context.with_file_name("named");
    fs_err::create_dir_all(dir.join("d")).unwrap();
    for (path, content) in [("d/f", "x"), ("hidden", "x"), (".dockerignore", "hidden\n")] {
        fs_err::write(dir.join(path), content).unwrap();
    }
    let dir = dir.to_str().unwrap().to_owned();
    named(&mut lab, "ctx", &dir);
    named(&mut lab, "replaced", &dir);
    let text = "FROM nowhere:1 AS replaced
        RUN false
        FROM base
        COPY --from=ctx / /all/
        COPY --from=ctx /d/f /one
        COPY --from=replaced /d /d
        RUN --mount=from=ctx,target=/m cp /m/d/f /mounted
        FROM ctx AS from
        COPY --from=1 /one /one
        FROM base
        COPY --from=1 / /
        COPY --from=from / /from
        ";
    add(&lab, &pages, text).unwrap();
    for path in ["all/d/f", "one", "d/f", "mounted", "from/d/f", "from/one"] {
        assert_eq!(lab.read(path), "x", "{path}");
    }
    assert!(!exists(&lab, "all/hidden"));
    assert_eq!(add(&lab, &pages, text).unwrap().executed, 0);
    fs_err::write(Path::new(&dir).join("d/f"), "y").unwrap();
    add(&lab, &pages, text).unwrap();
    assert_eq!(lab.read("from/one"), "y");
}

#[test]
fn images_stand_for_images() {
    let (mut lab, pages) = (Lab::new(), Pages::default());
    lab.options.tags = vec!["trigger".parse().unwrap()];
    lab.build("FROM base\nONBUILD COPY <<E /triggered\nt\nE\nENV a=b").unwrap();
    lab.options.tags = vec!["result".parse().unwrap()];
    named(&mut lab, "debian", "docker-image://trigger");
    named(&mut lab, "busybox", "docker-image://scratch");
    named(&mut lab, "unused", "docker-image://does/not/exist");
    add(&lab, &pages, "FROM debian:latest\nFROM debian\nCOPY --from=busybox / /").unwrap();
    assert_eq!(lab.read("triggered"), "t\n");
    assert!(lab.image().config.config.env.contains(&"a=b".to_owned()));
    named(&mut lab, "alias", "target:first");
    add(&lab, &pages, "FROM base AS first\nRUN echo 1 > /1\nFROM alias\nCOPY --from=alias /1 /2")
        .unwrap();
    assert_eq!((lab.read("1"), lab.read("2")), ("1\n".into(), "1\n".into()));
}

#[test]
fn archives_and_repositories_stand_for_stages() {
    let Some(daemon) = daemon() else { return };
    let (mut lab, pages) = (Lab::empty(), Pages::default());
    pages.set("http://h/x.tgz", archive(&[("f", "packed")]));
    pages.set("http://h/plain", "plain");
    named(&mut lab, "packed", "http://h/x.tgz");
    named(&mut lab, "plain", "http://h/plain");
    named(&mut lab, "repo", &format!("{}#v1:sub", daemon.url("repo")));
    let text = "FROM scratch
        COPY --from=packed /f /packed
        COPY --from=plain /context /plain
        COPY --from=repo /deep /deep
        ";
    add(&lab, &pages, text).unwrap();
    let read = |path| lab.read(path);
    assert_eq!([read("packed"), read("plain"), read("deep")], ["packed", "plain", "one"]);
}

#[test]
fn an_oci_layout_stands_for_an_image() {
    let (mut lab, pages) = (Lab::empty(), Pages::default());
    lab.options.tags = vec!["saved:1".parse().unwrap()];
    lab.build("FROM scratch\nCOPY <<E /f\nsaved\nE\nENV saved=1").unwrap();
    let tar = lab.context.with_file_name("saved.tar");
    let reference: Reference = "saved:1".parse().unwrap();
    let mut file = fs_err::File::create(&tar).unwrap();
    cutover_store::archive::save(
        &lab.store,
        &[reference],
        cutover_store::archive::Format::OciArchive,
        &mut file,
    )
    .unwrap();
    let layout = lab.context.with_file_name("layout");
    fs_err::create_dir(&layout).unwrap();
    tar::Archive::new(fs_err::File::open(&tar).unwrap()).unpack(&layout).unwrap();
    let mut fresh = Lab::empty();
    let text = "FROM l\nCOPY --from=l /f /g";
    named(&mut fresh, "l", &format!("oci-layout://{}:1", layout.display()));
    add(&fresh, &pages, text).unwrap();
    assert_eq!(fresh.read("g"), "saved\n");
    assert!(fresh.image().config.config.env.contains(&"saved=1".to_owned()));
    named(&mut fresh, "l", &format!("oci-layout://{}:nope", layout.display()));
    let error = chain(&add(&fresh, &pages, text).unwrap_err());
    assert!(error.contains("has no image `nope`"), "{error}");
    let blobs = layout.join("blobs/sha256");
    for blob in fs_err::read_dir(blobs).unwrap() {
        fs_err::write(blob.unwrap().path(), "junk").unwrap();
    }
    let mut fresh = Lab::empty();
    named(&mut fresh, "l", &format!("oci-layout://{}", layout.display()));
    let error = chain(&add(&fresh, &pages, text).unwrap_err());
    assert!(error.contains("has other bytes than its name says"), "{error}");
}
