//! `volumes`, `tmpfs`, `secrets`, `configs`.

use indexmap::IndexMap;

use super::Reader;
use crate::compose::context::{At, Context, shown};
use crate::compose::interpolate::Lookup as _;
use crate::compose::source::resolve_path;
use crate::service::{FileMount, FileSource, Mount, MountKind, Service, Volume};
use crate::suggest::nearest;
use crate::units;

impl Reader<'_, '_> {
    pub(super) fn mounts(&self, cx: &mut Context, service: &mut Service) {
        let volumes = self.fields.get("volumes").map(|at| cx.list(&at)).unwrap_or_default();
        let tmpfs = self.fields.get("tmpfs").map(|at| cx.one_or_list(&at)).unwrap_or_default();
        for at in volumes {
            let mount = if at.is_map() { self.long(cx, &at) } else { self.short(cx, &at) };
            push(cx, service, &at, mount);
        }
        for at in tmpfs {
            let mount = cx.parse(&at, tmpfs_short);
            push(cx, service, &at, mount);
        }
        let secrets = &self.shared.secrets;
        service.secrets = self.files(cx, "secrets", secrets, |key| format!("/run/secrets/{key}"));
        let configs = &self.shared.configs;
        service.configs = self.files(cx, "configs", configs, |key| format!("/{key}"));
    }

    fn short(&self, cx: &mut Context, at: &At<'_>) -> Option<Mount> {
        let spec = cx.parse(at, units::parse_volume)?;
        let is_bind = spec.is_bind();
        let kind = match spec.source {
            Some(source) if is_bind => MountKind::Bind {
                source: self.host_path(cx, at, &source)?,
                create: true,
                recursive: true,
                propagation: spec.propagation,
            },
            source => {
                let volume = match source {
                    Some(key) => Some(self.volume(cx, at, &key)?),
                    None => None,
                };
                MountKind::Volume { volume, no_copy: spec.no_copy, subpath: None }
            }
        };
        Some(Mount { kind, target: spec.target, read_only: spec.read_only })
    }

    fn long(&self, cx: &mut Context, at: &At<'_>) -> Option<Mount> {
        let fields = cx.fields(at, "services.*.volumes");
        let read_only = fields.get("read_only").and_then(|at| cx.bool(&at)).unwrap_or(false);
        let source = fields.get("source").and_then(|at| Some((cx.text(&at)?, at)));
        let bind = fields.get("bind");
        let volume = fields.get("volume");
        let tmpfs = fields.get("tmpfs");
        let Some(target) = fields.get("target") else {
            cx.error(at, "`target` is missing");
            return None;
        };
        let target = cx.parse(&target, absolute)?;
        let Some(kind) = fields.get("type") else {
            cx.error_hint(at, "`type` is missing", "write `bind`, `volume` or `tmpfs`");
            return None;
        };
        let kind = cx.choice(&kind, &[("bind", 'b'), ("volume", 'v'), ("tmpfs", 't')])?;
        for (letter, part) in [('b', &bind), ('v', &volume), ('t', &tmpfs)] {
            if let Some(part) = part.as_ref().filter(|_| letter != kind) {
                cx.error(part, "does not belong to this `type` of mount");
            }
        }
        let kind = match kind {
            'b' => self.long_bind(cx, at, source, bind)?,
            'v' => self.long_volume(cx, source, volume)?,
            _ => long_tmpfs(cx, tmpfs),
        };
        Some(Mount { kind, target, read_only })
    }

    fn long_bind(
        &self,
        cx: &mut Context,
        at: &At<'_>,
        source: Option<(String, At<'_>)>,
        options: Option<At<'_>>,
    ) -> Option<MountKind> {
        let (mut create, mut recursive, mut propagation) = (true, true, None);
        if let Some(at) = options {
            let fields = cx.fields(&at, "services.*.volumes.bind");
            create = fields.get("create_host_path").and_then(|at| cx.bool(&at)).unwrap_or(true);
            if let Some(at) = fields.get("recursive") {
                let words = [
                    ("enabled", true),
                    ("disabled", false),
                    ("writable", true),
                    ("readonly", true),
                ];
                recursive = cx.choice(&at, &words).unwrap_or(true);
            }
            let words = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
            propagation = fields
                .get("propagation")
                .and_then(|at| cx.choice(&at, &words.map(|word| (word, word.to_owned()))));
        }
        let Some((source, source_at)) = source else {
            cx.error(at, "a bind mount needs a `source`");
            return None;
        };
        let source = self.host_path(cx, &source_at, &source)?;
        Some(MountKind::Bind { source, create, recursive, propagation })
    }

    fn long_volume(
        &self,
        cx: &mut Context,
        source: Option<(String, At<'_>)>,
        options: Option<At<'_>>,
    ) -> Option<MountKind> {
        let (mut no_copy, mut subpath) = (false, None);
        if let Some(at) = options {
            let fields = cx.fields(&at, "services.*.volumes.volume");
            no_copy = fields.get("nocopy").and_then(|at| cx.bool(&at)).unwrap_or(false);
            subpath = fields.get("subpath").and_then(|at| cx.parse(&at, inner_path));
        }
        let volume = match source {
            Some((key, at)) => Some(self.volume(cx, &at, &key)?),
            None => None,
        };
        Some(MountKind::Volume { volume, no_copy, subpath })
    }

    /// The volume of that key, which must be declared.
    fn volume(&self, cx: &mut Context, at: &At<'_>, key: &str) -> Option<Volume> {
        if let Some(volume) = self.shared.volumes.get(key) {
            return Some(volume.clone());
        }
        let hint = match nearest(key, self.shared.volumes.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `{key}:` under the top-level `volumes:`; a path starts with `./`"),
        };
        cx.error_hint(at, format!("volume `{key}` is not declared"), hint);
        None
    }

    /// An absolute path on the machine.
    fn host_path(&self, cx: &mut Context, at: &At<'_>, source: &str) -> Option<String> {
        let Some(rest) = source.strip_prefix('~') else {
            return Some(resolve_path(cx.dir(at), source));
        };
        match self.variables.get("HOME") {
            Some(home) if rest.is_empty() || rest.starts_with('/') => {
                Some(resolve_path("/", &format!("{home}{rest}")))
            }
            _ => {
                cx.error(at, format!("`{source}` cannot be resolved: write the whole path"));
                None
            }
        }
    }

    fn files(
        &self,
        cx: &mut Context,
        key: &'static str,
        declared: &IndexMap<String, FileSource>,
        place: impl Fn(&str) -> String,
    ) -> Vec<FileMount> {
        let items = self.fields.get(key).map(|at| cx.list(&at)).unwrap_or_default();
        items.iter().filter_map(|at| file_mount(cx, at, key, declared, &place)).collect()
    }
}

/// Adds a mount, unless its target is already taken.
fn push(cx: &mut Context, service: &mut Service, at: &At<'_>, mount: Option<Mount>) {
    let Some(mount) = mount else { return };
    if service.volumes.iter().any(|other| other.target == mount.target) {
        cx.error(at, format!("`{}` is already mounted", mount.target));
        return;
    }
    service.volumes.push(mount);
}

fn file_mount(
    cx: &mut Context,
    at: &At<'_>,
    key: &str,
    declared: &IndexMap<String, FileSource>,
    place: &impl Fn(&str) -> String,
) -> Option<FileMount> {
    let (mut target, mut uid, mut gid, mut mode) = (None, 0, 0, 0o444);
    let source_at = if at.is_map() {
        let fields = cx.fields(at, "services.*.secrets");
        target = fields.get("target").and_then(|at| cx.text(&at));
        uid = fields.get("uid").and_then(|at| cx.number(&at, "a user id")).unwrap_or(0);
        gid = fields.get("gid").and_then(|at| cx.number(&at, "a group id")).unwrap_or(0);
        mode = fields.get("mode").and_then(|at| cx.parse(&at, octal)).unwrap_or(mode);
        let source = fields.get("source");
        if source.is_none() {
            cx.error(at, "`source` is missing");
        }
        source?
    } else {
        at.clone()
    };
    let source = cx.text(&source_at)?;
    let Some(from) = declared.get(&source).cloned() else {
        let hint = match nearest(&source, declared.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `{source}:` under the top-level `{key}:`"),
        };
        let one = key.trim_end_matches('s');
        cx.error_hint(&source_at, format!("{one} `{}` is not declared", shown(&source)), hint);
        return None;
    };
    let target = match target {
        Some(target) if target.starts_with('/') => target,
        Some(target) => place(&target),
        None => place(&source),
    };
    let target = resolve_path("/", &target);
    Some(FileMount { source, from, target, uid, gid, mode })
}

fn long_tmpfs(cx: &mut Context, options: Option<At<'_>>) -> MountKind {
    let (mut size, mut mode) = (None, None);
    if let Some(at) = options {
        let fields = cx.fields(&at, "services.*.volumes.tmpfs");
        size = fields.get("size").and_then(|at| cx.size(&at));
        mode = fields.get("mode").and_then(|at| cx.parse(&at, octal));
    }
    MountKind::Tmpfs { size, mode }
}

/// `/path[:size=64m,mode=1777]`
fn tmpfs_short(text: &str) -> Result<Mount, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let (mut size, mut mode, mut read_only) = (None, None, false);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => {
                size = Some(units::parse_size(value).map_err(|error| error.to_string())?);
            }
            Some(("mode", value)) => mode = Some(octal(value)?),
            None if option == "ro" => read_only = true,
            // what every tmpfs is mounted with, or what makes no difference here
            None if matches!(option, "rw" | "noexec" | "exec" | "nosuid" | "nodev") => {}
            Some(("uid" | "gid", _)) | Some(_) | None => {
                return Err(format!("`{}` is not an option of tmpfs", shown(option)));
            }
        }
    }
    Ok(Mount { kind: MountKind::Tmpfs { size, mode }, target: absolute(target)?, read_only })
}

fn absolute(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("`{}` must be an absolute path in the container", shown(text)));
    }
    let path = resolve_path("/", text);
    if path == "/" { Err("nothing can be mounted over `/`".to_owned()) } else { Ok(path) }
}

/// A path that stays inside the volume.
fn inner_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err(format!("`{}` must be a path inside the volume", shown(text)));
    }
    Ok(text.to_owned())
}

/// Permission bits as `chmod` takes them: `0440`, `440` and YAML's `0o440` are the same.
fn octal(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("`{}` is not a file mode such as `0440`", shown(text)))
}
