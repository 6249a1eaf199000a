//! Named contexts: what stands for a stage or an image of that name.

use std::path::{Path, PathBuf};

use cutover_core::oci::Platform;
use cutover_core::{Digest, Reference};

use super::ContextSource;
use crate::platform;

/// What `--build-context NAME=…` gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamedContext {
    /// Files: a directory, a repository, an archive.
    Files(ContextSource),
    /// `docker-image://`; `None` is `scratch`.
    Image(Option<Reference>),
    /// `oci-layout://`: a directory, and which image of it.
    Layout { directory: PathBuf, tag: Option<String>, digest: Option<Digest> },
    /// `target:`: a stage of the same Dockerfile.
    Stage(String),
}

impl NamedContext {
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("docker-image:") {
            let name = name.trim_start_matches("//");
            return match name {
                "scratch" => Ok(Self::Image(None)),
                name => match name.parse() {
                    Ok(reference) => Ok(Self::Image(Some(reference))),
                    Err(error) => Err(format!("{error}")),
                },
            };
        }
        if let Some(layout) = text.strip_prefix("oci-layout:") {
            return layout_of(layout.strip_prefix("//").unwrap_or(layout));
        }
        match text.strip_prefix("target:") {
            Some(stage) => Ok(Self::Stage(stage.to_lowercase())),
            None => ContextSource::parse(text).map(Self::Files),
        }
    }
}

/// `DIRECTORY[:tag|@digest]`
fn layout_of(text: &str) -> Result<NamedContext, String> {
    let (rest, digest) = match text.rsplit_once('@') {
        None => (text, None),
        Some((rest, digest)) => {
            let parsed: Result<Digest, _> = digest.parse();
            let parsed = parsed.map_err(|error| error.to_string())?;
            (rest, Some(parsed))
        }
    };
    let (directory, tag) = match rest.rsplit_once(':') {
        Some((directory, tag)) if !tag.contains('/') => (directory, Some(tag.to_owned())),
        _ => (rest, None),
    };
    Ok(NamedContext::Layout { directory: PathBuf::from(directory), tag, digest })
}

/// All named contexts of a build.
#[derive(Clone, Debug, Default)]
pub struct Contexts(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    /// The full name of an image, which is how names of contexts are compared.
    name: String,
    platform: Option<String>,
    shown: String,
    context: NamedContext,
}

impl Contexts {
    /// Adds a context by its name, `NAME` or `NAME::PLATFORM`; a later one of a name replaces an
    /// earlier one. `Err` says what is wrong with the name.
    pub fn add(&mut self, name: &str, context: NamedContext) -> Result<(), String> {
        let (bare, platform) = match name.split_once("::") {
            None => (name, None),
            Some((bare, text)) => {
                let read = platform::parse(text, &cutover_store::host_platform());
                let read = read.ok_or_else(|| format!("`{text}` is not a platform"))?;
                (bare, Some(platform::format(&read)))
            }
        };
        let full = canonical(bare).ok_or_else(|| format!("invalid context name `{bare}`"))?;
        self.0.retain(|entry| (&entry.name, &entry.platform) != (&full, &platform));
        self.0.push(Entry { name: full, platform, shown: name.to_owned(), context });
        Ok(())
    }

    /// Names that stand for stages of the Dockerfile, in lower case.
    pub(crate) fn stages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|entry| match &entry.context {
            NamedContext::Stage(stage) => Some((entry.shown.as_str(), stage.as_str())),
            _ => None,
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The context that stands for `name`: the one for the platform before the one for all.
    pub(crate) fn find(&self, name: &str, platform: &Platform) -> Option<(&str, &NamedContext)> {
        if self.0.is_empty() {
            return None;
        }
        let (name, platform) = (canonical(name)?, platform::format(platform));
        let named = || self.0.iter().filter(|entry| entry.name == name);
        let exact = named().find(|entry| entry.platform.as_ref() == Some(&platform));
        let found = exact.or_else(|| named().find(|entry| entry.platform.is_none()))?;
        Some((&found.shown, &found.context))
    }

    /// Directories that are named, to look whether they are there.
    pub fn directories(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.0.iter().filter_map(|entry| match &entry.context {
            NamedContext::Files(ContextSource::Directory(path)) => {
                Some((entry.shown.as_str(), path.as_path()))
            }
            NamedContext::Layout { directory, .. } => Some((entry.shown.as_str(), directory)),
            _ => None,
        })
    }
}

fn canonical(name: &str) -> Option<String> {
    let reference: Reference = name.to_lowercase().parse().ok()?;
    Some(reference.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_images() {
        let mut contexts = Contexts::default();
        let image = |name: &str| NamedContext::parse(&format!("docker-image://{name}")).unwrap();
        contexts.add("busybox", image("a")).unwrap();
        contexts.add("docker.io/library/alpine:latest", image("b")).unwrap();
        contexts.add("alpine::linux/arm64", image("c")).unwrap();
        contexts.add("x:1", image("d")).unwrap();
        let found = |name: &str, arch: &str| {
            let platform = Platform::new("linux", arch);
            contexts.find(name, &platform).map(|(_, context)| context.clone())
        };
        assert_eq!(found("busybox:latest", "amd64"), Some(image("a")));
        assert_eq!(found("library/busybox", "amd64"), Some(image("a")));
        assert_eq!(found("alpine", "amd64"), Some(image("b")));
        assert_eq!(found("alpine", "arm64"), Some(image("c")));
        assert_eq!(found("x", "amd64"), None);
        assert_eq!(found("x:1", "amd64"), Some(image("d")));
        assert!(contexts.add("a b", image("a")).is_err());
        assert!(contexts.add("a::nonsense/", image("a")).is_err());
    }

    #[test]
    fn values() {
        let layout = |directory: &str, tag: Option<&str>| NamedContext::Layout {
            directory: directory.into(),
            tag: tag.map(str::to_owned),
            digest: None,
        };
        assert_eq!(NamedContext::parse("oci-layout://d/e"), Ok(layout("d/e", None)));
        assert_eq!(NamedContext::parse("oci-layout:///d:1"), Ok(layout("/d", Some("1"))));
        assert_eq!(NamedContext::parse("docker-image://scratch"), Ok(NamedContext::Image(None)));
        assert_eq!(NamedContext::parse("target:Build"), Ok(NamedContext::Stage("build".into())));
        assert!(NamedContext::parse("docker-image://A B").is_err());
        assert!(NamedContext::parse("oci-layout://d@sha256:x").is_err());
    }
}
