//! Caches as plain tars: what carries them from one machine to another.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::{CacheMountError, CacheMounts, Identity};
use crate::copy::unpack;
use crate::tree::{Kind, Meta, Tree, TreeError};

/// Why a cache cannot be written to or read from an archive.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action}")]
pub(crate) struct ArchiveError {
    action: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn failed<E: std::error::Error + Send + Sync + 'static>(
    action: &'static str,
) -> impl FnOnce(E) -> ArchiveError {
    move |source| ArchiveError { action, source: Box::new(source) }
}

impl CacheMounts {
    /// Writes the files of a cache as a tar. No step writes to it meanwhile.
    pub fn export(&self, name: &str, to: impl Write) -> Result<(), CacheMountError> {
        let one = self.one(name)?;
        let _lock = self.lock_for_good(&one)?;
        let tree = Tree::open(&one.path).map_err(failed("open the cache"))?;
        let mut writer = Writer { tree: &tree, tar: Builder::new(to), seen: HashMap::new() };
        writer.tar.mode(tar::HeaderMode::Complete);
        writer.directory(Path::new("")).map_err(failed("write the archive"))?;
        let mut to = writer.tar.into_inner().map_err(failed("write the archive"))?;
        Ok(to.flush().map_err(failed("write the archive"))?)
    }

    /// Makes the files of a tar, compressed or not, the content of the cache `id`: what it had is
    /// gone, what cannot be read changes nothing.
    pub fn import(
        &self,
        id: &str,
        base: &str,
        from: impl Read,
        now: i64,
    ) -> Result<(), CacheMountError> {
        let identity = Identity { id: id.to_owned(), base: base.to_owned() };
        let io = |action| move |source| CacheMountError::Io { action, id: id.to_owned(), source };
        let _making = self.making().map_err(io("create"))?;
        let dir = self.dir.join(identity.key());
        fs_err::create_dir_all(&dir).map_err(io("create"))?;
        let fresh = super::empty(&dir).map_err(io("create"))?;
        let tree = Tree::open(fresh.path()).map_err(failed("open the cache"))?;
        let bytes = crate::copy::decompress(BufReader::new(from));
        let bytes = bytes.map_err(failed("read the archive"))?;
        unpack(bytes, &tree, id, None).map_err(failed("read the archive"))?;
        let lock = super::try_lock(&super::lock_path(&dir, 0), true).map_err(io("lock"))?;
        let lock = lock.ok_or_else(|| CacheMountError::InUse { id: id.to_owned() })?;
        super::describe(&dir, &identity).map_err(io("create"))?;
        let (data, old) = (dir.join("0"), dir.join("0.gone"));
        if fs_err::symlink_metadata(&data).is_ok() {
            fs_err::rename(&data, &old).map_err(io("replace"))?;
        }
        super::publish(fresh, &data).map_err(io("replace"))?;
        super::touch(&lock, now).map_err(io("touch"))?;
        if old.exists() {
            fs_err::remove_dir_all(&old).map_err(io("remove the old files of"))?;
        }
        Ok(())
    }
}

struct Writer<'a, W: Write> {
    tree: &'a Tree,
    tar: Builder<W>,
    /// Names of files that have several.
    seen: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> Writer<'_, W> {
    fn directory(&mut self, path: &Path) -> io::Result<()> {
        let meta = self.tree.meta(path).map_err(io)?.ok_or(io::ErrorKind::NotFound)?;
        let shown = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        self.xattrs(path, &meta)?;
        self.tar.append_data(&mut header(&meta, EntryType::Directory), shown, io::empty())?;
        for (path, meta) in self.tree.entries(path).map_err(io)? {
            match meta.kind {
                Kind::Dir => self.directory(&path)?,
                Kind::Link => {
                    let target = self.tree.link(&path).map_err(io)?;
                    let mut header = header(&meta, EntryType::Symlink);
                    self.tar.append_link(&mut header, &path, &target)?;
                }
                Kind::File => self.file(&path, &meta)?,
                // A device, socket or FIFO is of no use on another machine.
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, meta: &Meta) -> io::Result<()> {
        if meta.links > 1 {
            if let Some(first) = self.seen.get(&(meta.dev, meta.ino)) {
                let mut header = header(meta, EntryType::Link);
                return self.tar.append_link(&mut header, path, first);
            }
            self.seen.insert((meta.dev, meta.ino), path.to_owned());
        }
        self.xattrs(path, meta)?;
        let file = self.tree.file(path).map_err(io)?;
        let mut header = header(meta, EntryType::Regular);
        header.set_size(meta.size);
        // A file that shrinks meanwhile is filled up: the archive stays one.
        self.tar.append_data(&mut header, path, file.chain(io::repeat(0)).take(meta.size))
    }

    fn xattrs(&mut self, path: &Path, meta: &Meta) -> io::Result<()> {
        let xattrs = self.tree.xattrs(path, meta.kind).map_err(io)?;
        let named: Vec<(String, Vec<u8>)> = xattrs
            .into_iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value))
            .collect();
        let entries = named.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        if named.is_empty() { Ok(()) } else { self.tar.append_pax_extensions(entries) }
    }
}

fn io(error: TreeError) -> io::Error {
    io::Error::other(error)
}

fn header(meta: &Meta, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(meta.mode);
    header.set_uid(meta.uid.into());
    header.set_gid(meta.gid.into());
    header.set_mtime(u64::try_from(meta.mtime.0).unwrap_or(0));
    header.set_size(0);
    header
}
