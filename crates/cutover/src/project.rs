//! From the user's files to sealed services: reading compose.yaml, building or finding images,
//! keeping secrets. What the agent gets needs nothing of the user's machine any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use cutover_core::Digest;
use cutover_core::Reference;
use cutover_core::compose::{self, Project};
use cutover_core::release::SealedService;
use cutover_core::service::{Build, FileMount, FileSource, Service};
use cutover_store::Store;
use fs_err as fs;

use crate::cli::{Ctx, build};
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::pull;
use crate::secrets::{self, Pin, Secrets};

/// Where the project is.
#[derive(Debug, Default, Args)]
pub(crate) struct ProjectArgs {
    /// Compose file; several are merged in order
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Name of the app, instead of the file's `name` or the directory's
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// Directory that relative paths start from, instead of the first file's
    #[arg(long, value_name = "DIR")]
    pub(crate) project_directory: Option<PathBuf>,
    /// File with variables for the compose file, instead of `.env`
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Profile to switch on
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Vec<String>,
}

/// Names that are looked for, in compose's order.
const DEFAULT_FILES: [&str; 4] =
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
/// A file of the user's that is read whole.
const FILE_LIMIT: u64 = 16 << 20;

/// How images come to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BuildChoice {
    pub(crate) build: bool,
    pub(crate) no_cache: bool,
}

/// The name of the app that a command is about: as given, else the compose file's, else that of the
/// only app deployed here.
pub(crate) fn app_name(ctx: &Ctx, given: Option<&str>, args: &ProjectArgs) -> Outcome<String> {
    if let Some(name) = given.or(args.project_name.as_deref()) {
        return Ok(name.to_owned());
    }
    // what else the file says does not matter here, so neither do its warnings
    let quiet = Ctx { paths: ctx.paths.clone(), ui: ctx.ui.quiet() };
    if let Ok(project) = load(&quiet, args) {
        return Ok(project.name);
    }
    if args.file.is_empty()
        && let Some(ledger) = crate::agent::ledger::open_existing(&ctx.paths)?
        && let [only] = ledger.apps()?.as_slice()
    {
        return Ok(only.name.clone());
    }
    match load(ctx, args) {
        Ok(project) => Ok(project.name),
        Err(failure) => Err(match failure.hint {
            Some(hint) => {
                Failure { hint: Some(format!("{hint}, or the app with `--app`")), ..failure }
            }
            None => failure,
        }),
    }
}

/// Reads and checks the compose files.
pub(crate) fn load(ctx: &Ctx, args: &ProjectArgs) -> Outcome<Project> {
    let cwd = std::env::current_dir()?;
    let paths = match args.file.is_empty() {
        true => vec![find(&cwd)?],
        false => args.file.iter().map(|path| cwd.join(path)).collect(),
    };
    let dir = match &args.project_directory {
        Some(dir) => cwd.join(dir),
        None => paths[0].parent().unwrap_or(&cwd).to_owned(),
    };
    let files = paths.iter().map(|path| source(path, &cwd)).collect::<Outcome<Vec<_>>>()?;
    let environment = environment();
    let dot_env = dot_env(args, &dir, &cwd)?;
    let input = compose::Input {
        files: &files,
        dir: &dir.to_string_lossy(),
        name: args
            .project_name
            .as_deref()
            .or(environment.get("COMPOSE_PROJECT_NAME").map(String::as_str)),
        dot_env: dot_env.as_ref(),
        environment: &environment,
        profiles: &args.profile,
        read: &|path| match read(Path::new(path)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        },
    };
    let project = compose::parse(&input).map_err(|problems| {
        let count = problems.0.len();
        let plural = if count == 1 { "" } else { "s" };
        ctx.ui.say(format!("{problems}\n"));
        Failure::msg(Kind::Config, format!("the compose file has {count} problem{plural}"))
    })?;
    for warning in &project.warnings {
        ctx.ui.say(warning.to_string());
    }
    Ok(project)
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The compose file of the current directory or of one above it, as docker compose looks for it.
fn find(cwd: &Path) -> Outcome<PathBuf> {
    let mut dirs = cwd.ancestors();
    let found = dirs.find_map(|dir| {
        DEFAULT_FILES.iter().map(|name| dir.join(name)).find(|path| path.is_file())
    });
    found.ok_or_else(|| {
        let text = format!("no compose.yaml in `{}` or above it", cwd.display());
        Failure::msg(Kind::Config, text).hint("name it with `-f FILE`")
    })
}

fn source(path: &Path, cwd: &Path) -> Outcome<compose::SourceText> {
    let text = read(path).kind(Kind::Config)?;
    let name = path.strip_prefix(cwd).unwrap_or(path).display().to_string();
    Ok(compose::SourceText { name, text })
}

fn dot_env(args: &ProjectArgs, dir: &Path, cwd: &Path) -> Outcome<Option<compose::SourceText>> {
    let paths: Vec<PathBuf> = match args.env_file.is_empty() {
        true => vec![dir.join(".env")].into_iter().filter(|path| path.is_file()).collect(),
        false => args.env_file.iter().map(|path| cwd.join(path)).collect(),
    };
    let mut all: Option<compose::SourceText> = None;
    for path in paths {
        let next = source(&path, cwd)?;
        match &mut all {
            None => all = Some(next),
            Some(all) => all.text = format!("{}\n{}", all.text, next.text),
        }
    }
    Ok(all)
}

/// Bytes of a file of the user's; a missing one is called missing.
fn size_of(path: &Path) -> std::io::Result<u64> {
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let text = format!("`{}` does not exist", path.display());
            std::io::Error::new(std::io::ErrorKind::NotFound, text)
        }
        _ => error,
    };
    Ok(fs::metadata(path).map_err(missing)?.len())
}

fn read(path: &Path) -> std::io::Result<String> {
    let size = size_of(path)?;
    match size > FILE_LIMIT {
        true => Err(std::io::Error::other(format!(
            "`{}` has {size} bytes, more than the {FILE_LIMIT} that are read",
            path.display()
        ))),
        false => fs::read_to_string(path),
    }
}

/// Builds or finds the image of every service, keeps its secrets, and pins both. The pin is to be
/// held until a release that names the secrets is in the ledger.
pub(crate) fn seal(
    ctx: &Ctx,
    project: &Project,
    choice: BuildChoice,
) -> Outcome<(BTreeMap<String, SealedService>, Pin)> {
    let store = ctx.store()?;
    let kept = Secrets::open(&ctx.paths.secrets())
        .or_fail(Kind::Internal, "open the directory of secrets")?;
    let pin = kept.pin().or_fail(Kind::Internal, "lock the directory of secrets")?;
    // every missing file is named before the first image is built
    let mut versions = BTreeMap::new();
    for service in project.services.values() {
        let secrets = keep_all(&kept, &service.name, "secret", &service.secrets)?;
        let configs = keep_all(&kept, &service.name, "config", &service.configs)?;
        versions.insert(service.name.clone(), (secrets, configs));
    }
    let mut sealed = BTreeMap::new();
    for service in project.services.values() {
        let (name, image) = image(ctx, &store, project, service, choice)?;
        let mut service = service.clone();
        for hook in &mut service.pre_start {
            if let Some(reference) = &hook.image {
                let found =
                    pull::image(ctx, &store, &reference.to_string(), pull::When::Missing, false)?;
                hook.image = Some(reference.at(found.digest));
            }
        }
        let (secrets, configs) = versions.remove(&service.name).unwrap_or_default();
        let key = service.name.clone();
        let mut one = SealedService::new(service, name, image);
        one.secret_versions = secrets;
        one.config_versions = configs;
        sealed.insert(key, one);
    }
    Ok((sealed, pin))
}

type Versions = BTreeMap<String, Digest>;

fn keep_all(kept: &Secrets, service: &str, what: &str, mounts: &[FileMount]) -> Outcome<Versions> {
    let mut versions = Versions::new();
    for mount in mounts {
        let contents = contents(&mount.from).map_err(|failure| {
            let name = &mount.source;
            Failure {
                error: failure.error.map(|error| {
                    error.context(format!("failed to read {what} `{name}` of service `{service}`"))
                }),
                ..failure
            }
        })?;
        let version = kept.keep(&contents).or_fail(Kind::Internal, "keep a secret")?;
        versions.insert(mount.source.clone(), version);
    }
    Ok(versions)
}

#[expect(clippy::disallowed_methods, reason = "a secret may come from the environment")]
fn contents(from: &FileSource) -> Outcome<Vec<u8>> {
    match from {
        FileSource::File(path) => {
            let size = size_of(Path::new(path)).kind(Kind::Config)?;
            if size > secrets::LIMIT {
                let limit = secrets::LIMIT;
                let text = format!("`{path}` has {size} bytes, more than the {limit} allowed");
                return Err(Failure::msg(Kind::Config, text));
            }
            fs::read(path).kind(Kind::Config)
        }
        FileSource::Environment(name) => {
            std::env::var(name).map(String::into_bytes).map_err(|_unset| {
                Failure::msg(Kind::Config, format!("environment variable `{name}` is not set"))
            })
        }
        FileSource::Content(text) => Ok(text.clone().into_bytes()),
        FileSource::External(name) => Err(Failure::msg(
            Kind::Config,
            format!("`{name}` is external, and secrets kept by the machine are not supported"),
        )
        .hint("use `file:` or `environment:`")),
    }
}

/// The image of a service: built when it says how, else found or pulled.
fn image(
    ctx: &Ctx,
    store: &Store,
    project: &Project,
    service: &Service,
    choice: BuildChoice,
) -> Outcome<(Reference, Digest)> {
    let reference = match &service.image {
        Some(reference) => reference.clone(),
        None => format!("{}-{}", project.name, service.name).parse().kind(Kind::Config)?,
    };
    match &service.build {
        Some(wanted) if choice.build => {
            let wanted = with_services(ctx, store, project, wanted, choice)?;
            let digest = build_service(ctx, store, &service.name, &wanted, &reference, choice)?;
            Ok((reference, digest))
        }
        Some(_) => match store.images().get(&reference)? {
            Some(image) => Ok((reference, image.digest)),
            None => Err(Failure::msg(
                Kind::NotFound,
                format!("image `{reference}` of service `{}` is not built", service.name),
            )
            .hint("leave out `--no-build`")),
        },
        None => {
            use cutover_core::service::PullPolicy;
            let when = match service.pull_policy {
                PullPolicy::Always => pull::When::Always,
                PullPolicy::Never => pull::When::Never,
                PullPolicy::Missing | PullPolicy::Build => pull::When::Missing,
            };
            let found = pull::image(ctx, store, &reference.to_string(), when, false)?;
            Ok((reference, found.digest))
        }
    }
}

/// `wanted` with the images of the services that its contexts name (`service:NAME`), which are
/// built first.
fn with_services(
    ctx: &Ctx,
    store: &Store,
    project: &Project,
    wanted: &Build,
    choice: BuildChoice,
) -> Outcome<Build> {
    let mut wanted = wanted.clone();
    for (name, value) in &mut wanted.additional_contexts {
        let Some(service) = value.strip_prefix("service:") else { continue };
        let found = project.services.get(service).ok_or_else(|| {
            let problem = format!("context `{name}` is of service `{service}`, which is not there");
            Failure::msg(Kind::Config, problem)
        })?;
        let contexts = found.build.iter().flat_map(|build| build.additional_contexts.values());
        if contexts.into_iter().any(|value| value.starts_with("service:")) {
            let problem =
                format!("context `{name}`: service `{service}` has contexts of services itself");
            return Err(Failure::msg(Kind::Config, problem)
                .hint("name its image with `docker-image://` and deploy it first"));
        }
        let (reference, _digest) = image(ctx, store, project, found, choice)?;
        *value = format!("docker-image://{reference}");
    }
    Ok(wanted)
}

/// Reads a build secret of service `name`.
fn of_build(name: &str) -> impl Fn(&str, &FileSource) -> Outcome<Vec<u8>> {
    move |id, from| {
        contents(from).map_err(|failure| Failure {
            error: failure.error.map(|error| {
                error.context(format!("failed to read build secret `{id}` of service `{name}`"))
            }),
            ..failure
        })
    }
}

fn build_service(
    ctx: &Ctx,
    store: &Store,
    name: &str,
    wanted: &Build,
    reference: &Reference,
    choice: BuildChoice,
) -> Outcome<Digest> {
    use cutover_build::{DockerfileSource, Network};
    let mut options = build::options(ctx, store, PathBuf::from(&wanted.context));
    for (name, value) in &wanted.additional_contexts {
        build::contexts::add(&mut options, name, value)?;
    }
    options.dockerfile = match (&wanted.dockerfile, &wanted.inline) {
        (_, Some(text)) => DockerfileSource::Inline(text.clone().into_bytes()),
        (Some(path), None) => DockerfileSource::Path(PathBuf::from(path)),
        (None, None) => DockerfileSource::Default,
    };
    options.tags = vec![reference.clone()];
    for tag in &wanted.tags {
        options.tags.push(tag.parse().kind(Kind::Config)?);
    }
    options.target = wanted.target.clone();
    options.build_args = wanted.args.clone().into_iter().collect();
    options.labels = wanted.labels.clone().into_iter().collect();
    options.no_cache = wanted.no_cache || choice.no_cache;
    options.network = match wanted.network.as_deref() {
        Some("none") => Network::None,
        Some("host") => Network::Host,
        _ => Network::Default,
    };
    options.pull = wanted.pull;
    build::service::apply(&mut options, wanted, &of_build(name))?;
    let travel = build::travel::plan(&wanted.cache_from, &wanted.cache_to)
        .map_err(|failure| Failure { kind: Kind::Config, ..failure })?;
    let _held = build::contexts::open(ctx, store, &mut options, &wanted.context, false)?;
    travel.apply(ctx.ui, store, &mut options);
    let built = build::execute_for_service(ctx, store, &options, name)?;
    travel.deliver(ctx.ui, store, &built)?;
    Ok(built.image)
}
