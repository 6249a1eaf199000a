//! Digests of a step's real inputs: the cache key, and the content of selected files.
//!
//! A file's content and metadata count, its time never does. Fields are length-prefixed, so that no
//! two different inputs can be written the same way.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use cutover_core::Digest;
use cutover_core::digest::{Algorithm, Hasher};

use crate::explain::Listing;
use crate::select::{From, Item, Selected};
use crate::tree::{self, Kind, Meta, TreeError};

/// Collects the inputs of one key. Its first field says what kind and version of key it is.
#[derive(Debug)]
pub(crate) struct Fingerprint(Hasher);

impl Fingerprint {
    pub(crate) fn new(kind: &str) -> Self {
        let mut fingerprint = Self(Hasher::new(Algorithm::Sha256));
        fingerprint.field("kind", kind);
        fingerprint
    }

    pub(crate) fn field(&mut self, name: &str, value: impl AsRef<[u8]>) {
        for bytes in [name.as_bytes(), value.as_ref()] {
            self.0.update(&(bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        }
    }

    pub(crate) fn fields<T: AsRef<[u8]>>(&mut self, name: &str, values: &[T]) {
        self.number(name, values.len() as u64);
        values.iter().for_each(|value| self.field(name, value));
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.field(name, value.to_le_bytes());
    }

    pub(crate) fn finish(self) -> Digest {
        self.0.finish()
    }
}

/// Gives the digest of a file's bytes and attributes; an implementation may remember.
pub(crate) trait FileDigests: Sync {
    fn digest(&self, from: &From<'_>, path: &Path, meta: &Meta) -> Result<Digest, TreeError>;
}

/// Bytes that are read at once.
const BUFFER: usize = 128 * 1024;

/// Reads the file, every time. A regular file without attributes has the digest of its bytes.
#[derive(Debug)]
pub(crate) struct ReadFiles;

impl FileDigests for ReadFiles {
    fn digest(&self, from: &From<'_>, path: &Path, meta: &Meta) -> Result<Digest, TreeError> {
        let mut file = from.tree.file(path)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        // No larger than the file: clearing memory takes longer than reading a small one.
        let size = usize::try_from(meta.size).unwrap_or(BUFFER).saturating_add(1);
        let mut buffer = vec![0; size.min(BUFFER)];
        loop {
            match file.read(&mut buffer).map_err(TreeError::at("read", path))? {
                0 => break,
                length => hasher.update(&buffer[..length]),
            }
        }
        let content = hasher.finish();
        let xattrs = tree::xattrs_of(&file).map_err(TreeError::at("read", path))?;
        if xattrs.is_empty() {
            return Ok(content);
        }
        let mut both = Fingerprint::new("file with attributes 1");
        both.field("content", content.as_str());
        xattrs.iter().for_each(|(name, value)| both.field(name, value));
        Ok(both.finish())
    }
}

/// Most files of a list that is kept to explain.
const MAX_LISTED: usize = 200_000;

/// The digest of selected files: names, types, permissions, attributes, link targets and bytes, and
/// the owners where the copy keeps them. Also lists them, as they count.
pub(crate) fn of_files(
    from: &From<'_>,
    selected: &[Selected],
    keep_owners: bool,
    digests: &dyn FileDigests,
) -> Result<(Digest, Listing), TreeError> {
    let mut fingerprint = Fingerprint::new("files 1");
    let (mut listing, mut listed) = (Listing::default(), 0);
    let mut sums = sums(from, selected, digests)?.into_iter();
    for one in selected {
        fingerprint.field("source", one.name.as_os_str().as_bytes());
        fingerprint.number("items", one.items.len() as u64);
        // Names of one file become names of one file; which inode that is does not matter.
        let mut links = HashMap::new();
        for (index, item) in one.items.iter().enumerate() {
            if item.is(Kind::File) && item.meta.links > 1 {
                let first = *links.entry((item.meta.dev, item.meta.ino)).or_insert(index);
                fingerprint.number("same file as", first as u64);
            }
            let sum = if item.is(Kind::File) { sums.next() } else { None };
            let sum = of_item(&mut fingerprint, from, item, keep_owners, sum)?;
            listed += 1;
            if listed <= MAX_LISTED {
                let path = item.path.to_string_lossy().into_owned();
                listing.add(path, about(item, keep_owners), &sum);
            }
        }
    }
    Ok((fingerprint.finish(), listing))
}

/// Threads that read files.
const READERS: usize = 4;
/// Files for which one thread is enough.
const FEW: usize = 16;

/// The digests of all regular files, in order; read by several threads, for reading takes longest.
fn sums(
    from: &From<'_>,
    selected: &[Selected],
    digests: &dyn FileDigests,
) -> Result<Vec<Digest>, TreeError> {
    let items = selected.iter().flat_map(|one| &one.items);
    let files: Vec<&Item> = items.filter(|item| item.is(Kind::File)).collect();
    let digest = |item: &&Item| digests.digest(from, &item.path, &item.meta);
    let bytes: u64 = files.iter().map(|item| item.meta.size).sum();
    if files.len() < FEW && bytes < 1 << 20 {
        return files.iter().map(digest).collect();
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = files.get(index) else { break };
            let sum = digest(item);
            let failed = sum.is_err();
            done.push((index, sum));
            if failed {
                next.store(files.len(), Ordering::Relaxed);
            }
        }
        done
    };
    let mut all = std::thread::scope(|scope| {
        let readers: Vec<_> = (1..READERS).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for reader in readers {
            all.extend(reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_unstable_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, sum)| sum).collect()
}

/// What is said of a file beside its content.
fn about(item: &Item, owners: bool) -> String {
    let Meta { kind, mode, uid, gid, .. } = item.meta;
    match (kind, owners) {
        (Kind::Link, _) => "Link".to_owned(),
        (_, true) => format!("{kind:?} {mode:o} {uid}:{gid}"),
        (_, false) => format!("{kind:?} {mode:o}"),
    }
}

/// Returns the hex digits of the content's digest; empty for what has none.
fn of_item(
    fingerprint: &mut Fingerprint,
    from: &From<'_>,
    item: &Item,
    keep_owners: bool,
    sum: Option<Digest>,
) -> Result<String, TreeError> {
    let meta = &item.meta;
    fingerprint.field("path", item.below.as_os_str().as_bytes());
    fingerprint.field("type", format!("{:?} {}", meta.kind, item.implied));
    if meta.kind != Kind::Link {
        fingerprint.number("mode", meta.mode.into());
    }
    if keep_owners {
        fingerprint.number("uid", meta.uid.into());
        fingerprint.number("gid", meta.gid.into());
    }
    match meta.kind {
        Kind::File => {
            let sum = sum.as_ref();
            fingerprint.field("content", sum.map_or("", Digest::as_str));
            return Ok(sum.map(|sum| sum.hex().to_owned()).unwrap_or_default());
        }
        Kind::Link => {
            let target = from.tree.link(&item.path)?;
            fingerprint.field("target", target.as_os_str().as_bytes());
            return Ok(Digest::sha256(target.as_os_str().as_bytes()).hex().to_owned());
        }
        Kind::Char | Kind::Block => fingerprint.number("device", meta.rdev),
        Kind::Dir => {
            for (name, value) in from.tree.xattrs(&item.path, meta.kind)? {
                fingerprint.field(&name, value);
            }
        }
        Kind::Fifo | Kind::Socket => {}
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Source;
    use crate::tree::Tree;

    /// The digest of the directory `/d` of a tree that `make` fills.
    fn digest(keep_owners: bool, make: impl Fn(&Path)) -> Digest {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path().join("d");
        fs_err::create_dir(&d).unwrap();
        fs_err::write(d.join("a"), "a").unwrap();
        make(&d);
        let tree = Tree::open(dir.path()).unwrap();
        let from = From { tree: &tree, visible: None };
        let source = Source::local("/d".to_owned(), None);
        let selected = from.select(&source, &[]).unwrap();
        of_files(&from, &selected, keep_owners, &ReadFiles).unwrap().0
    }

    fn chmod(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn content_and_metadata_count() {
        let plain = digest(false, |_| {});
        assert_ne!(plain, digest(false, |d| fs_err::write(d.join("a"), "b").unwrap()));
        assert_ne!(plain, digest(false, |d| fs_err::rename(d.join("a"), d.join("b")).unwrap()));
        assert_ne!(plain, digest(false, |d| chmod(&d.join("a"), 0o755)));
        assert_ne!(plain, digest(false, |d| fs_err::create_dir(d.join("e")).unwrap()));
        let link = |to: &'static str| {
            digest(false, move |d| std::os::unix::fs::symlink(to, d.join("l")).unwrap())
        };
        assert_ne!(link("x"), link("y"));
        let attribute = |d: &Path| {
            let file = std::fs::File::options().write(true).open(d.join("a")).unwrap();
            rustix::fs::fsetxattr(file, "user.x", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        };
        assert_ne!(plain, digest(false, attribute));
    }

    #[test]
    fn times_and_inodes_do_not_count() {
        let plain = digest(false, |_| {});
        let later = |d: &Path| {
            let file = std::fs::File::options().write(true).open(d.join("a")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        };
        assert_eq!(plain, digest(false, later));
        let hard = |d: &Path| fs_err::hard_link(d.join("a"), d.join("b")).unwrap();
        assert_eq!(digest(false, hard), digest(false, hard));
        assert_ne!(
            digest(false, hard),
            digest(false, |d| fs_err::write(d.join("b"), "a").unwrap())
        );
    }

    #[test]
    fn owners_count_where_they_are_kept() {
        let own = |d: &Path| std::os::unix::fs::chown(d.join("a"), Some(7), Some(8)).unwrap();
        assert_eq!(digest(false, |_| {}), digest(false, own));
        assert_ne!(digest(true, |_| {}), digest(true, own));
    }
}
