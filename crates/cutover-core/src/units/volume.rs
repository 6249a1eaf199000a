//! The short form of a mount, `-v [source:]target[:options]`, as docker and compose read it.

use super::ParseUnitError;

/// A parsed short form. What the source means (a folder or a volume's name) is told by its first
/// letter; where a relative path starts is the caller's business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeSpec {
    /// `None`: an anonymous volume.
    pub source: Option<String>,
    pub target: String,
    pub read_only: bool,
    pub no_copy: bool,
    /// `shared`, `rslave`, …
    pub propagation: Option<String>,
}

impl VolumeSpec {
    /// Whether the source is a path: it starts with `/`, `.` or `~`.
    pub fn is_bind(&self) -> bool {
        self.source.as_deref().is_some_and(|source| source.starts_with(['/', '.', '~']))
    }
}

/// Parses `target`, `source:target` or `source:target:options`.
pub fn parse_volume(text: &str) -> Result<VolumeSpec, ParseUnitError> {
    let bad = |why: String| ParseUnitError::new(text, "mount", why);
    let hint = "write `source:/target` or `source:/target:ro`";
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => return Err(bad(hint.to_owned())),
    };
    if source == Some("") || target.is_empty() {
        return Err(bad(hint.to_owned()));
    }
    if !target.starts_with('/') {
        return Err(bad(format!("`{target}` must be an absolute path in the container")));
    }
    if target.split('/').all(|part| part.is_empty() || part == ".") {
        return Err(bad("nothing can be mounted over `/`".to_owned()));
    }
    let mut spec = VolumeSpec {
        source: source.map(str::to_owned),
        target: target.to_owned(),
        ..VolumeSpec::default()
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => spec.read_only = true,
            "nocopy" => spec.no_copy = true,
            "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => {
                spec.propagation = Some(option.to_owned());
            }
            // SELinux labels and macOS caches: nothing to do here
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            other => return Err(bad(format!("unknown option `{other}`"))),
        }
    }
    if let Some(source) = source.filter(|_| !spec.is_bind()) {
        check_name(source).map_err(bad)?;
    }
    Ok(spec)
}

/// docker's rule for volume names: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`
fn check_name(name: &str) -> Result<(), String> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if first && name.bytes().all(rest) {
        return Ok(());
    }
    Err(format!("`{name}` is neither a path (starting with `/`, `.` or `~`) nor a volume name"))
}
