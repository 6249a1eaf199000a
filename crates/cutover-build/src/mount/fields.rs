//! The keys of a mount, one by one, and what they mean together.

use cutover_core::units::parse_size;

use super::{Access, CacheMount, Mount, MountKind, SecretMount, Sharing};
use crate::dockerfile::suggest;
use crate::path;

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARINGS: [&str; 3] = ["shared", "private", "locked"];
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// Keys and values as they come.
#[derive(Debug)]
pub(super) struct Fields {
    kind: &'static str,
    from: Option<String>,
    source: String,
    target: String,
    read_only: Option<bool>,
    required: bool,
    size: Option<u64>,
    id: String,
    sharing: Option<Sharing>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    env: Option<String>,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            kind: "bind",
            from: None,
            source: String::new(),
            target: String::new(),
            read_only: None,
            required: false,
            size: None,
            id: String::new(),
            sharing: None,
            mode: None,
            uid: None,
            gid: None,
            env: None,
        }
    }
}

impl Fields {
    /// A key without a value.
    pub(super) fn switch(&mut self, field: &str) -> Result<(), String> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => self.read_only = Some(true),
            "readwrite" | "rw" => self.read_only = Some(false),
            "required" => {
                self.only_for(&["secret", "ssh"], "required")?;
                self.required = true;
            }
            _ => return Err(format!("invalid mount field `{field}`: it must be `key=value`")),
        }
        Ok(())
    }

    pub(super) fn set(&mut self, key: &str, value: String, field: &str) -> Result<(), String> {
        match key {
            "type" => self.kind = known("mount type", &value, &TYPES)?,
            "from" => self.from = Some(value).filter(|from| !from.is_empty()),
            "source" | "src" => self.source = value,
            "target" | "dst" | "destination" => self.target = value,
            "readonly" | "ro" => self.read_only = Some(boolean(key, &value)?),
            "readwrite" | "rw" => self.read_only = Some(!boolean(key, &value)?),
            "required" => {
                self.only_for(&["secret", "ssh"], key)?;
                self.required = boolean(key, &value)?;
            }
            "size" => {
                self.only_for(&["tmpfs"], key)?;
                let size = parse_size(&value).map_err(|error| error.to_string())?;
                self.size = Some(size).filter(|size| *size > 0);
            }
            "id" => self.id = value,
            "sharing" => {
                self.sharing = Some(match known("sharing value", &value, &SHARINGS)? {
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => Sharing::Shared,
                });
            }
            "mode" => self.mode = Some(number(key, &value, 8)?),
            "uid" => self.uid = Some(number(key, &value, 10)?),
            "gid" => self.gid = Some(number(key, &value, 10)?),
            "env" => self.env = Some(value),
            _ => {
                let problem = format!("unexpected key `{key}` in `{field}`");
                return Err(with_suggestion(problem, key, &KEYS));
            }
        }
        Ok(())
    }

    fn only_for(&self, kinds: &[&str], key: &str) -> Result<(), String> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        Err(format!("unexpected key `{key}` for mount type `{}`", self.kind))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let kind = self.kind;
        if matches!(kind, "bind" | "tmpfs") {
            let given = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
            if let Some((key, _)) = given.iter().find(|(_, value)| value.is_some()) {
                return Err(format!("`{key}` is not allowed for mount type `{kind}`"));
            }
        }
        if self.sharing.is_some() && kind != "cache" {
            return Err(format!("`sharing` is not allowed for mount type `{kind}`"));
        }
        if kind == "secret" {
            if self.from.is_some() {
                return Err("a secret mount has no `from`".to_owned());
            }
            if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
                return Err("a secret mount needs an `id` or a `target`".to_owned());
            }
            if !self.source.is_empty() && !self.id.is_empty() {
                return Err("a secret mount has `id` or `source`, not both".to_owned());
            }
        }
        if kind == "ssh" && !self.source.is_empty() {
            return Err("an ssh mount has no `source`".to_owned());
        }
        Ok(())
    }

    fn access(&self, mode: u32) -> Access {
        Access {
            mode: self.mode.unwrap_or(mode),
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
        }
    }

    pub(super) fn finish(self, cwd: &str) -> Result<Mount, String> {
        let mount = match self.kind {
            "secret" => self.secret(),
            "ssh" => {
                let id = if self.id.is_empty() { "default".to_owned() } else { self.id.clone() };
                let target = rooted(&self.target);
                let access = self.access(0o600);
                Mount { target, kind: MountKind::Ssh { id, required: self.required, access } }
            }
            _ => self.directory(cwd),
        };
        if mount.target == "/" {
            return Err("invalid mount target `/`: nothing can be mounted over the root".to_owned());
        }
        Ok(mount)
    }

    /// Bind, cache and tmpfs.
    fn directory(self, cwd: &str) -> Mount {
        let target = path::absolute(cwd, &self.target);
        let source = path::absolute("/", &self.source);
        let kind = match self.kind {
            "tmpfs" => {
                MountKind::Tmpfs { size: self.size, read_only: self.read_only == Some(true) }
            }
            "cache" => {
                let given = self.mode.is_some() || self.uid.is_some() || self.gid.is_some();
                // BuildKit sets them on the directory that it mounts, but not on a part of one.
                let access = (given && source == "/").then(|| self.access(0o755));
                let id = match self.id.as_str() {
                    "" => path::clean(&self.target),
                    id => id.to_owned(),
                };
                MountKind::Cache(CacheMount {
                    id,
                    from: self.from,
                    source,
                    read_only: self.read_only == Some(true),
                    sharing: self.sharing.unwrap_or_default(),
                    access,
                })
            }
            _ => {
                let writable = self.read_only == Some(false);
                MountKind::Bind { from: self.from, source, writable }
            }
        };
        Mount { target, kind }
    }

    fn secret(self) -> Mount {
        let base = |path: &str| path.trim_end_matches('/').rsplit('/').next().map(str::to_owned);
        let id = [&self.id, &self.source].into_iter().find(|id| !id.is_empty()).cloned();
        let id = id.or_else(|| base(&self.target)).unwrap_or_default();
        let target = match (&self.env, self.target.as_str()) {
            (Some(_), "") => String::new(),
            (None, "") => rooted(&format!("/run/secrets/{}", base(&id).unwrap_or_default())),
            (_, target) => rooted(target),
        };
        let access = self.access(0o400);
        let kind =
            MountKind::Secret(SecretMount { id, env: self.env, required: self.required, access });
        Mount { target, kind }
    }
}

/// Absolute, from the root; nothing stays nothing.
fn rooted(target: &str) -> String {
    if target.is_empty() { String::new() } else { path::absolute("/", target) }
}

fn known(what: &str, value: &str, known: &[&'static str]) -> Result<&'static str, String> {
    let lower = value.to_lowercase();
    let found = known.iter().find(|known| **known == lower).copied();
    found.ok_or_else(|| with_suggestion(format!("unsupported {what} `{value}`"), value, known))
}

fn with_suggestion(problem: String, word: &str, known: &[&'static str]) -> String {
    let lower = word.to_lowercase();
    let begun = || known.iter().find(|near| lower.len() > 2 && near.starts_with(&lower)).copied();
    match suggest(word, known.iter().copied()).or_else(begun) {
        Some(near) => format!("{problem}: did you mean `{near}`?"),
        None => format!("{problem}: it is one of {}", list(known)),
    }
}

fn list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// What Go's `ParseBool` takes.
fn boolean(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid value `{value}` for `{key}`: write `true` or `false`")),
    }
}

fn number(key: &str, value: &str, radix: u32) -> Result<u32, String> {
    let what = if radix == 8 { "an octal number" } else { "a number" };
    let digits = !value.is_empty() && value.chars().all(|digit| digit.is_digit(radix));
    let parsed = u32::from_str_radix(value, radix).ok().filter(|_| digits);
    parsed.ok_or_else(|| format!("invalid value `{value}` for `{key}`: it is not {what}"))
}
