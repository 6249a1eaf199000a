//! A store, a context and a builder in a temporary directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use cutover_build::{
    BuildError, BuildOptions, Built, DockerfileSource, Event, FetchRequest, Fetched, Fetcher,
    Network, Progress, PullError, Puller, RuntimeRunner, World, build,
};
use cutover_core::Reference;
use cutover_core::oci::Platform;
use cutover_runtime::net::Networks;
use cutover_store::{Image, Store};

pub(crate) const NOW: i64 = 1_700_000_000;

/// Everything of one test; removed when dropped.
pub(crate) struct Lab {
    _dir: tempfile::TempDir,
    pub(crate) root: PathBuf,
    pub(crate) context: PathBuf,
    pub(crate) store: Store,
    pub(crate) options: BuildOptions,
}

/// Events as text.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) Mutex<Vec<String>>);

impl Progress for Recorder {
    fn on(&self, event: Event<'_>) {
        let line = match event {
            Event::Started { name, .. } => format!("run {name}"),
            Event::Cached { name, .. } => format!("cached {name}"),
            Event::Explained { report } => format!("explained {report}"),
            Event::Output { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

struct NoRegistry;

impl Puller for NoRegistry {
    fn pull(&self, reference: &Reference, _platform: &Platform) -> Result<Image, PullError> {
        Err(PullError { reference: reference.clone(), source: "there is no registry here".into() })
    }
}

impl Fetcher for NoRegistry {
    fn fetch(
        &self,
        request: &FetchRequest<'_>,
        _to: &mut (dyn Write + Send),
    ) -> Result<Fetched, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("there is no network here for {request:?}").into())
    }
}

/// The image `base`: busybox, a passwd and a group file, and little else.
const BASE: &str = r#"FROM scratch
COPY busybox /bin/busybox
COPY <<END /etc/passwd
root:x:0:0::/root:/bin/sh
app:x:1000:1001::/home/app:/bin/sh
END
COPY <<END /etc/group
root:x:0:
app:x:1001:
extra:x:1002:
END
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["sh"]
"#;

impl Lab {
    /// An empty context and an empty store.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, context) = (dir.path().join("root"), dir.path().join("context"));
        fs_err::create_dir_all(root.join("run")).unwrap();
        fs_err::create_dir_all(&context).unwrap();
        let platform = cutover_store::host_platform();
        let options = BuildOptions {
            tags: vec!["result".parse().unwrap()],
            network: Network::None,
            ..BuildOptions::new(context.clone(), root.clone(), platform, NOW)
        };
        let store = Store::open(&root).unwrap();
        Self { _dir: dir, root, context, store, options }
    }

    /// With the image `base`.
    pub(crate) fn new() -> Self {
        let mut lab = Self::empty();
        assert!(Path::new("/bin/busybox").exists(), "these tests need the package busybox-static");
        let base = lab.context.with_file_name("base");
        fs_err::create_dir(&base).unwrap();
        fs_err::copy("/bin/busybox", base.join("busybox")).unwrap();
        let busybox = fs_err::File::open(base.join("busybox")).unwrap();
        busybox.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_400_000_000)).unwrap();
        let context = std::mem::replace(&mut lab.options.context, base);
        let tags = std::mem::replace(&mut lab.options.tags, vec!["base".parse().unwrap()]);
        lab.build(BASE).unwrap();
        (lab.options.context, lab.options.tags) = (context, tags);
        lab
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.context.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }

    pub(crate) fn build(&self, text: &str) -> Result<Built, BuildError> {
        self.record(text).0
    }

    /// Builds and says which steps ran and which were cached.
    pub(crate) fn record(&self, text: &str) -> (Result<Built, BuildError>, Vec<String>) {
        self.record_with(&self.options, text)
    }

    pub(crate) fn build_with(
        &self,
        options: &BuildOptions,
        text: &str,
    ) -> Result<Built, BuildError> {
        self.record_with(options, text).0
    }

    fn record_with(
        &self,
        options: &BuildOptions,
        text: &str,
    ) -> (Result<Built, BuildError>, Vec<String>) {
        let progress = Recorder::default();
        let built = self.build_watched(options, text, &progress);
        (built, progress.0.into_inner().unwrap())
    }

    pub(crate) fn build_watched(
        &self,
        options: &BuildOptions,
        text: &str,
        progress: &dyn Progress,
    ) -> Result<Built, BuildError> {
        cutover_runtime::sys::own_exe::accept_unprotected();
        let networks = Networks::open(&self.root, &self.root.join("run")).unwrap();
        let runner = RuntimeRunner::new(&self.root, &self.root.join("run"), networks);
        let world = World {
            store: &self.store,
            progress,
            runner: &runner,
            puller: &NoRegistry,
            fetcher: &NoRegistry,
            clock: &|| Duration::ZERO,
        };
        let dockerfile = DockerfileSource::Inline(text.as_bytes().to_vec());
        let options = BuildOptions { dockerfile, ..options.clone() };
        build(&options, &world)
    }

    /// The image `result`.
    pub(crate) fn image(&self) -> Image {
        self.store.images().get(&"result".parse().unwrap()).unwrap().unwrap()
    }

    /// How many layers the image `base` has.
    pub(crate) fn base_layers(&self) -> usize {
        let base = self.store.images().get(&"base".parse().unwrap()).unwrap().unwrap();
        base.chain_ids.len()
    }

    /// What a layer has, with `/` behind directories; 0 is the lowest.
    pub(crate) fn layer(&self, index: usize) -> Vec<String> {
        self.layer_of(&self.image(), index)
    }

    pub(crate) fn layer_of(&self, image: &Image, index: usize) -> Vec<String> {
        let dirs = self.store.snapshots().lowers(image).unwrap();
        let mut found = Vec::new();
        list(&dirs[dirs.len() - 1 - index], "", &mut found);
        found
    }

    /// The path of a file of the image, in the topmost layer that has it.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        let image = self.image();
        let dirs = self.store.snapshots().lowers(&image).unwrap();
        let mut paths = dirs.iter().map(|dir| dir.join(path));
        let found = paths.find(|path| path.symlink_metadata().is_ok());
        found.unwrap_or_else(|| panic!("no `{path}` in the image"))
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.file(path)).unwrap()
    }

    /// Nothing is under way and nothing is left over.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        for dir in ["tmp", "run/builds"] {
            let entries = fs_err::read_dir(self.root.join(dir)).into_iter().flatten();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            // The store's own lock files stay until they are collected.
            let left: Vec<_> = names.filter(|name| !name.ends_with(".lock")).collect();
            assert!(left.is_empty(), "left in {dir}: {left:?}");
        }
    }
}

fn list(dir: &Path, below: &str, found: &mut Vec<String>) {
    let mut entries: Vec<_> = fs_err::read_dir(dir).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(fs_err::DirEntry::file_name);
    for entry in entries {
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            let name = format!("{name}/");
            found.push(name.clone());
            list(&entry.path(), &name, found);
        } else {
            found.push(name);
        }
    }
}
