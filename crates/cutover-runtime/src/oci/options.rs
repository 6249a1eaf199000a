//! The options of a mount, sorted by what they change: the mount, everything below it, its propagation, the file
//! system itself. Pure.

use super::config::{IdMapping, Mount};
use super::error::{Error, Result};
use crate::sys::mount::{NO_DEV, NO_EXEC, NO_SUID, READ_ONLY};

const NO_ATIME: u64 = libc::MOUNT_ATTR_NOATIME;
const STRICT_ATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
const NO_DIR_ATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NO_SYMLINKS: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
/// The bits of how access times are kept: a choice, not flags.
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

/// Sorted options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// A bind mount, and whether mounts below come along.
    pub(super) bind: Option<bool>,
    /// Attributes of the mount itself: set, clear.
    pub(super) own: (u64, u64),
    /// Attributes of it and all below it: set, clear.
    pub(super) all: (u64, u64),
    /// `MS_PRIVATE`… and whether for all below it, in order.
    pub(super) propagation: Vec<(u64, bool)>,
    /// What the file system itself is told; without a value it is a flag.
    pub(super) data: Vec<(String, Option<String>)>,
    /// Fill the tmpfs with what it hides.
    pub(super) copy_up: bool,
    /// Numbers of owners are mapped, and whether for all below it.
    pub(super) idmap: Option<bool>,
}

/// Each word: what it sets, what it clears.
const ATTRIBUTES: [(&str, u64, u64); 20] = [
    ("ro", READ_ONLY, 0),
    ("rw", 0, READ_ONLY),
    ("nosuid", NO_SUID, 0),
    ("suid", 0, NO_SUID),
    ("nodev", NO_DEV, 0),
    ("dev", 0, NO_DEV),
    ("noexec", NO_EXEC, 0),
    ("exec", 0, NO_EXEC),
    ("noatime", NO_ATIME, ATIME),
    ("atime", 0, ATIME),
    ("relatime", 0, ATIME),
    ("norelatime", STRICT_ATIME, ATIME),
    ("strictatime", STRICT_ATIME, ATIME),
    ("nostrictatime", 0, ATIME),
    ("nodiratime", NO_DIR_ATIME, 0),
    ("diratime", 0, NO_DIR_ATIME),
    ("nosymfollow", NO_SYMLINKS, 0),
    ("symfollow", 0, NO_SYMLINKS),
    ("defaults", 0, 0),
    ("loud", 0, 0),
];

/// Sharing of later mounts.
const PROPAGATION: [(&str, u64); 4] = [
    ("private", libc::MS_PRIVATE),
    ("slave", libc::MS_SLAVE),
    ("shared", libc::MS_SHARED),
    ("unbindable", libc::MS_UNBINDABLE),
];

/// What only a whole file system can have.
const OF_FILE_SYSTEM: [&str; 10] = [
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "lazytime",
    "nolazytime",
    "iversion",
    "noiversion",
    "acl",
];

/// Every word that is understood, for `features`.
pub(super) fn known() -> Vec<String> {
    let mut all: Vec<String> = ATTRIBUTES.iter().map(|(word, ..)| (*word).to_owned()).collect();
    let recursive = ATTRIBUTES.iter().filter(|(word, ..)| !matches!(*word, "defaults" | "loud"));
    all.extend(recursive.map(|(word, ..)| format!("r{word}")));
    all.extend(PROPAGATION.iter().flat_map(|(word, _)| [(*word).to_owned(), format!("r{word}")]));
    all.extend(OF_FILE_SYSTEM.iter().map(|&word| word.to_owned()));
    all.extend(["bind", "rbind", "tmpcopyup", "idmap", "ridmap", "silent"].map(str::to_owned));
    all.sort();
    all
}

/// Sorts the options of a mount; refuses what would be passed over.
pub(super) fn parse(mount: &Mount) -> Result<Options> {
    if mount.destination.is_empty() || mount.destination.contains('\0') {
        return Err(Error::invalid("destination", "it is missing"));
    }
    let mut options = Options::default();
    if mount.kind == "bind" {
        options.bind = Some(false);
    }
    for word in &mount.options {
        one(&mut options, word)?;
    }
    if options.bind.is_some() {
        as_bind(mount, &options)?;
    } else if mount.kind.is_empty() || mount.kind == "none" {
        return Err(Error::invalid("type", "it is missing, and there is no `bind` option"));
    }
    if options.copy_up && mount.kind != "tmpfs" {
        return Err(Error::invalid("options", "`tmpcopyup` is for tmpfs only"));
    }
    idmap(mount, &mut options)?;
    Ok(options)
}

fn one(options: &mut Options, word: &str) -> Result<()> {
    if let Some((_, set, clear)) = ATTRIBUTES.iter().find(|(known, ..)| *known == word) {
        change(&mut options.own, *set, *clear);
        return Ok(());
    }
    let short = word.strip_prefix('r').unwrap_or_default();
    if let Some((_, set, clear)) = ATTRIBUTES.iter().find(|(known, ..)| *known == short) {
        change(&mut options.all, *set, *clear);
        return Ok(());
    }
    for (name, flag) in PROPAGATION {
        if word == name || short == name {
            options.propagation.push((flag, short == name));
            return Ok(());
        }
    }
    match word {
        "bind" => options.bind = Some(options.bind.unwrap_or(false)),
        "rbind" => options.bind = Some(true),
        "tmpcopyup" => options.copy_up = true,
        "idmap" => options.idmap = Some(false),
        "ridmap" => options.idmap = Some(true),
        "silent" | "" => {}
        "remount" => {
            let reason = "`remount`: nothing is mounted twice here, give the options at once";
            return Err(Error::unsupported("options", reason));
        }
        _ => options.data.push(match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word.to_owned(), None),
        }),
    }
    Ok(())
}

/// Later words win over earlier ones.
fn change(attributes: &mut (u64, u64), set: u64, clear: u64) {
    attributes.0 = (attributes.0 & !clear) | set;
    attributes.1 = (attributes.1 & !set) | clear;
}

fn as_bind(mount: &Mount, options: &Options) -> Result<()> {
    if mount.source.is_empty() {
        return Err(Error::invalid("source", "a bind mount needs one"));
    }
    // There is no file system to tell: `mode=755` and the like are passed over, as callers count on.
    match options.data.iter().find(|(_, value)| value.is_none()) {
        None => Ok(()),
        Some((key, _)) if OF_FILE_SYSTEM.contains(&key.as_str()) => {
            let reason = format!("`{key}` is for a whole file system, not for a bind mount");
            Err(Error::unsupported("options", reason))
        }
        Some((key, _)) => {
            Err(Error::invalid("options", format!("unknown option `{}`", key.escape_debug())))
        }
    }
}

/// Mappings without the option mean the option.
fn idmap(mount: &Mount, options: &mut Options) -> Result<()> {
    let given = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if given && options.idmap.is_none() {
        options.idmap = Some(false);
    }
    if options.idmap.is_none() {
        return Ok(());
    }
    if options.bind.is_none() {
        let reason = "`idmap` is for bind mounts only";
        return Err(Error::unsupported("options", reason));
    }
    if given && (mount.uid_mappings.is_empty() || mount.gid_mappings.is_empty()) {
        return Err(Error::invalid("uidMappings", "one of the two kinds of mappings is missing"));
    }
    let check = |mappings: &[IdMapping]| super::config::mappings(mappings, "uidMappings");
    check(&mount.uid_mappings).and_then(|()| check(&mount.gid_mappings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, words: &[&str], expected: &str) {
        let mount = Mount {
            destination: "/x".to_owned(),
            kind: kind.to_owned(),
            source: "/y".to_owned(),
            options: words.iter().map(|&word| word.to_owned()).collect(),
            ..Mount::default()
        };
        let got = match parse(&mount) {
            Ok(options) => format!(
                "{:?} own {:x}/{:x} all {:x}/{:x} {:?} {:?}",
                options.bind,
                options.own.0,
                options.own.1,
                options.all.0,
                options.all.1,
                options.propagation.len(),
                options.data,
            ),
            Err(error) => error.to_string(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn words_are_sorted() {
        check("bind", &["ro", "rbind"], "Some(true) own 1/0 all 0/0 0 []");
        check("bind", &["rro", "rprivate"], "Some(false) own 0/0 all 1/0 1 []");
        check("none", &["bind", "ro", "rw"], "Some(false) own 0/1 all 0/0 0 []");
        check(
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "huge"],
            "None own 22/70 all 0/0 0 [(\"mode\", Some(\"755\")), (\"huge\", None)]",
        );
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        check("bind", &["fast"], "invalid `options`: unknown option `fast`");
        check(
            "bind",
            &["sync"],
            "unsupported `options`: `sync` is for a whole file system, not for a bind mount",
        );
        check("", &["ro"], "invalid `type`: it is missing, and there is no `bind` option");
        check("tmpfs", &["idmap"], "unsupported `options`: `idmap` is for bind mounts only");
        check("proc", &["tmpcopyup"], "invalid `options`: `tmpcopyup` is for tmpfs only");
    }
}
