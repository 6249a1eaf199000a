//! Which hierarchies this machine has, and making a group in one.

use std::path::{Path, PathBuf};

use super::files::{self, Dir};
use super::{CgroupError, group_path};

/// Version of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    pub(super) mount: PathBuf,
    /// Of v1; those of v2 depend on the place and are read when needed.
    pub(super) controllers: Vec<String>,
}

/// All of them, v2 first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchies(Vec<Hierarchy>);

/// Controllers of v1 that every container is in: to limit, to count, to keep devices away.
const ALWAYS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "devices"];

/// Controllers of v2 that are handed down.
const HANDED_DOWN: [&str; 4] = ["cpu", "memory", "pids", "cpuset"];

impl Hierarchies {
    pub(super) fn of_this_machine() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let table =
            fs_err::read_to_string(path).map_err(files::context("read the mount table", path))?;
        let found = parse(&table);
        if found.is_empty() { Err(CgroupError::NotMounted) } else { Ok(Self(found)) }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Hierarchy> {
        self.0.iter()
    }

    pub(super) fn v2(&self) -> Option<&Hierarchy> {
        self.0.iter().find(|hierarchy| hierarchy.version == Version::V2)
    }

    pub(super) fn v1(&self, controller: &str) -> Option<&Hierarchy> {
        self.0.iter().find(|hierarchy| hierarchy.controllers.iter().any(|c| c == controller))
    }

    /// Those that a container needs a group in.
    pub(super) fn serving(&self, needed: &[&str]) -> impl Iterator<Item = &Hierarchy> {
        // Freezing is v2's where there is one.
        let freezer = self.v2().is_none().then_some("freezer");
        self.0.iter().filter(move |hierarchy| {
            hierarchy.version == Version::V2
                || hierarchy.controllers.iter().any(|controller| {
                    let controller = controller.as_str();
                    ALWAYS.contains(&controller)
                        || needed.contains(&controller)
                        || freezer == Some(controller)
                })
        })
    }
}

impl Hierarchy {
    pub(super) fn group(&self, name: &str) -> PathBuf {
        group_path(&self.mount, name)
    }

    /// Makes the group and what is above it.
    pub(super) fn make_group(&self, name: &str) -> Result<(), CgroupError> {
        let group = self.group(name);
        if rustix::fs::mkdir(&group, rustix::fs::Mode::from_raw_mode(0o755)).is_ok() {
            return Ok(());
        }
        self.make_parents(name)?;
        files::make(&group).map(drop)
    }

    /// Makes what is above a group and hands controllers down to it.
    pub(super) fn make_parents(&self, name: &str) -> Result<(), CgroupError> {
        let (group, mut path) = (self.group(name), self.mount.clone());
        self.hand_down(&path)?;
        for part in name.split('/') {
            path.push(part);
            if path == group {
                break;
            }
            files::make(&path)?;
            self.hand_down(&path)?;
        }
        Ok(())
    }

    /// Lets groups below have controllers (v2) or processors and memory nodes (v1's cpuset).
    fn hand_down(&self, path: &Path) -> Result<(), CgroupError> {
        let dir = Dir::open(path)?;
        match self.version {
            Version::V2 => {
                let available = dir.read("cgroup.controllers")?;
                let wanted: Vec<String> = available
                    .split_ascii_whitespace()
                    .filter(|controller| HANDED_DOWN.contains(controller))
                    .map(|controller| format!("+{controller}"))
                    .collect();
                if wanted.is_empty() {
                    return Ok(());
                }
                dir.write("cgroup.subtree_control", &wanted.join(" "))
            }
            Version::V1 if path != self.mount && self.controllers.iter().any(|c| c == "cpuset") => {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let above = Dir::open(path.parent().unwrap_or(path))?.read(file)?;
                    if dir.read(file)?.trim().is_empty() {
                        dir.write(file, above.trim())?;
                    }
                }
                dir.write("cgroup.clone_children", "1")
            }
            Version::V1 => Ok(()),
        }
    }
}

/// Hierarchies in a mount table; the first mount of each.
fn parse(table: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in table.lines() {
        let Some((place, fs)) = line.split_once(" - ") else { continue };
        let (Some(mount), mut fs) = (place.split(' ').nth(4), fs.split(' ')) else { continue };
        let (kind, options) = (fs.next(), fs.nth(1).unwrap_or_default());
        let (version, controllers) = match kind {
            Some("cgroup2") => (Version::V2, Vec::new()),
            Some("cgroup") => (Version::V1, controllers(options)),
            _ => continue,
        };
        let known = found.iter().any(|h| h.version == version && h.controllers == controllers);
        if !known {
            found.push(Hierarchy { version, mount: unescape(mount).into(), controllers });
        }
    }
    found.sort_by_key(|hierarchy| hierarchy.version == Version::V1);
    found
}

fn controllers(options: &str) -> Vec<String> {
    const NOT_CONTROLLERS: [&str; 6] = ["rw", "ro", "xattr", "noprefix", "clone_children", "none"];
    options
        .split(',')
        .filter(|option| !NOT_CONTROLLERS.contains(option) && !option.starts_with("release_agent"))
        .map(str::to_owned)
        .collect()
}

/// The table writes blanks as `\040`.
fn unescape(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &str, expected: &[&str]) {
        let got: Vec<String> = parse(table)
            .iter()
            .map(|h| format!("{:?} {} {}", h.version, h.mount.display(), h.controllers.join("+")))
            .collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn tables() {
        check(
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             27 1 254:0 / / rw - ext4 /dev/vda rw\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:7 - cgroup2 cgroup2 rw\n\
             42 31 0:38 / /other rw - cgroup2 cgroup2 rw\n",
            &[
                "V2 /sys/fs/cgroup/unified ",
                "V1 /sys/fs/cgroup/cpu,cpuacct cpu+cpuacct",
                "V1 /sys/fs/cgroup/systemd name=systemd",
            ],
        );
        check(
            "30 23 0:26 / /sys/fs/cgroup\\040x rw - cgroup2 cgroup2 rw,nsdelegate\n",
            &["V2 /sys/fs/cgroup x "],
        );
        check("", &[]);
    }
}
