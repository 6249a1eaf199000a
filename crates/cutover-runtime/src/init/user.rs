//! Who the program runs as: docker's rules for `USER`, against the container's own `/etc/passwd` and `/etc/group`.
//!
//! The files are the image's and hostile: they are read through the root's descriptor, only if regular, and only
//! up to a bound (CVE-2024-9676). Numbers are bounded, so that 2³² does not become root (CVE-2024-40635).

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

/// Resolved numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Larger files of users are refused.
const LARGEST: u64 = 1 << 20;

/// Docker's bound for user and group numbers.
const LARGEST_ID: u32 = i32::MAX.unsigned_abs();

/// The two files of a root file system; missing ones are empty.
pub(crate) fn read_files(root: BorrowedFd<'_>) -> io::Result<(String, String)> {
    Ok((read(root, "etc/passwd")?, read(root, "etc/group")?))
}

fn read(root: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // As a path first: opening a FIFO would wait, opening a device could act.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(errno.into()),
    };
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other(format!("`/{path}` is not a regular file")));
    }
    let reopen = format!("/proc/self/fd/{}", found.as_raw_fd());
    let file = rustix::fs::open(reopen, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("`/{path}` is larger than 1 MiB")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Resolves `user[:group]` and more groups.
pub(crate) fn resolve(
    spec: &str,
    additional: &[String],
    passwd: &str,
    group: &str,
) -> Result<Identity, String> {
    let (user, group_name) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (spec, None),
    };
    let mut identity = resolve_user(user, passwd, group)?;
    if let Some(name) = group_name {
        identity.gid = resolve_group(name, group)?;
        identity.groups.clear();
    }
    for name in additional {
        identity.groups.push(resolve_group(name, group)?);
    }
    identity.groups.sort_unstable();
    identity.groups.dedup();
    Ok(identity)
}

fn resolve_user(user: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let wanted = if user.is_empty() { "0" } else { user };
    let found = passwd.lines().map(fields).find(|fields| {
        let by_number = || numeric(wanted) == id(fields, 2) && id(fields, 2).is_some();
        fields.first() == Some(&wanted) || by_number()
    });
    if let Some(fields) = found {
        let name = fields[0];
        let uid = id(&fields, 2).ok_or_else(|| format!("user `{user}` has no valid number"))?;
        return Ok(Identity {
            uid,
            gid: id(&fields, 3).unwrap_or(0),
            groups: memberships(name, group),
            home: fields
                .get(5)
                .filter(|home| !home.is_empty())
                .map_or("/", |home| *home)
                .to_owned(),
        });
    }
    let uid = number(wanted, "user")?;
    Ok(Identity { uid, gid: 0, groups: Vec::new(), home: "/".to_owned() })
}

fn resolve_group(name: &str, group: &str) -> Result<u32, String> {
    let found = group.lines().map(fields).find(|fields| fields.first() == Some(&name));
    match found.and_then(|fields| id(&fields, 2)) {
        Some(gid) => Ok(gid),
        None => number(name, "group"),
    }
}

/// Numbers of the groups that list the user.
fn memberships(name: &str, group: &str) -> Vec<u32> {
    group
        .lines()
        .map(fields)
        .filter(|fields| {
            fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name))
        })
        .filter_map(|fields| id(&fields, 2))
        .collect()
}

fn fields(line: &str) -> Vec<&str> {
    line.trim().split(':').collect()
}

fn id(fields: &[&str], index: usize) -> Option<u32> {
    fields.get(index).and_then(|text| numeric(text))
}

fn numeric(text: &str) -> Option<u32> {
    text.parse().ok().filter(|&number| number <= LARGEST_ID)
}

fn number(text: &str, what: &str) -> Result<u32, String> {
    if let Some(number) = numeric(text) {
        return Ok(number);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{what} number `{text}` is out of range"));
    }
    Err(format!("no {what} `{text}` in the container"))
}

#[cfg(test)]
mod tests;
