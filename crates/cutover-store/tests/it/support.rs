//! Stores in temporary directories, tars from plain descriptions, mounted trees as values.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cutover_core::Digest;
use cutover_core::oci::{Descriptor, ImageConfig, RootFs, media_type};
use cutover_store::{Image, Store, manifest_bytes};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    Fixture { store, dir }
}

impl Fixture {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is in `tmp/`, but for locks.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let entries = fs_err::read_dir(self.store.root().join("tmp")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| !name.ends_with(".lock")).collect()
    }

    pub(crate) fn apply(&self, parent: Option<&Digest>, tar: &[u8]) -> Result<Digest, String> {
        let mut reader = tar;
        let applied = self.store.snapshots().apply(parent, &mut reader, &Digest::sha256(tar));
        applied.map_err(|error| chain(&error))
    }

    /// The layers, lowest first, as one tree.
    pub(crate) fn tree(&self, chain: &[Digest]) -> Tree {
        let lowers = self.store.snapshots().lower_dirs(chain).unwrap();
        let merged = Overlay::mount(self.dir.path(), &lowers, None);
        Tree::read(&merged.path)
    }
}

/// An error and its sources on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

pub(crate) struct Overlay {
    pub(crate) path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Overlay {
    /// Mounts `lowers` (topmost first), with an upper and a work directory if given.
    pub(crate) fn mount(dir: &Path, lowers: &[PathBuf], upper: Option<(&Path, &Path)>) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let (path, empty) = (dir.path().join("merged"), dir.path().join("empty"));
        fs_err::create_dir(&path).unwrap();
        fs_err::create_dir(&empty).unwrap();
        let mut dirs: Vec<_> = lowers.iter().map(|path| path.display().to_string()).collect();
        if dirs.len() < 2 {
            dirs.push(empty.display().to_string());
        }
        let mut options = format!("redirect_dir=off,metacopy=off,lowerdir={}", dirs.join(":"));
        if let Some((upper, work)) = upper {
            options += &format!(",upperdir={},workdir={}", upper.display(), work.display());
        }
        let options = std::ffi::CString::new(options).unwrap();
        mount("overlay", &path, "overlay", MountFlags::empty(), Some(options.as_c_str())).unwrap();
        Self { path, _dir: dir }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        unmount(&self.path, UnmountFlags::DETACH).unwrap();
    }
}

/// Every file below a directory by its path; the root is the empty path.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<String, Node>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) what: What,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, i64),
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum What {
    Dir,
    File(Vec<u8>),
    Link(String),
    Char(u64),
    Block(u64),
    Fifo,
}

impl fmt::Debug for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dir => write!(f, "dir"),
            Self::File(bytes) => write!(f, "file {:?}", String::from_utf8_lossy(bytes)),
            Self::Link(to) => write!(f, "-> {to}"),
            Self::Char(id) => write!(f, "char {id:x}"),
            Self::Block(id) => write!(f, "block {id:x}"),
            Self::Fifo => write!(f, "fifo"),
        }
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, node) in &self.0 {
            let Node { what, mode, owner: (uid, gid), mtime, xattrs } = node;
            write!(f, "\n/{path} {what:?} {mode:o} {uid}:{gid} {}.{:09}", mtime.0, mtime.1)?;
            for (name, value) in xattrs {
                write!(f, " {name}={}", cutover_core::digest::hex(value))?;
            }
        }
        Ok(())
    }
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Self {
        let mut nodes = BTreeMap::new();
        read_node(root, "", &mut nodes);
        Self(nodes)
    }

    pub(crate) fn paths(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).filter(|path| !path.is_empty()).collect()
    }

    pub(crate) fn node(&self, path: &str) -> &Node {
        self.0.get(path).unwrap_or_else(|| panic!("no `{path}` in {self:?}"))
    }

    pub(crate) fn text(&self, path: &str) -> String {
        match &self.node(path).what {
            What::File(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("`{path}` is {other:?}"),
        }
    }

    /// Without the parts of seconds, which tars of built layers do not keep.
    pub(crate) fn whole_seconds(mut self) -> Self {
        self.0.values_mut().for_each(|node| node.mtime.1 = 0);
        self
    }
}

fn read_node(path: &Path, name: &str, nodes: &mut BTreeMap<String, Node>) {
    // A listed whiteout would fail here: its name is there, and the file is not.
    let metadata = fs_err::symlink_metadata(path).unwrap();
    let kind = metadata.file_type();
    let what = if kind.is_dir() {
        What::Dir
    } else if kind.is_file() {
        let mut bytes = Vec::new();
        fs_err::File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        What::File(bytes)
    } else if kind.is_symlink() {
        What::Link(fs_err::read_link(path).unwrap().display().to_string())
    } else if kind.is_char_device() {
        What::Char(metadata.rdev())
    } else if kind.is_block_device() {
        What::Block(metadata.rdev())
    } else {
        What::Fifo
    };
    let node = Node {
        what,
        mode: metadata.mode() & 0o7777,
        owner: (metadata.uid(), metadata.gid()),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        xattrs: xattrs(path),
    };
    nodes.insert(name.to_owned(), node);
    if kind.is_dir() {
        for entry in fs_err::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let child = entry.file_name().to_string_lossy().into_owned();
            let child = if name.is_empty() { child } else { format!("{name}/{child}") };
            read_node(&entry.path(), &child, nodes);
        }
    }
}

pub(crate) fn xattrs(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let size = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..size].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .filter(|name| !name.starts_with(b"trusted.overlay."))
        .map(|name| {
            let mut value = vec![0; 4096];
            let size = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(size);
            (String::from_utf8(name.to_vec()).unwrap(), value)
        })
        .collect();
    found.sort();
    found
}

/// A tar in the making, by a writer that is not ours.
pub(crate) struct Tar(tar::Builder<Vec<u8>>);

/// The fields of an entry that a test cares about.
#[derive(Clone, Debug)]
pub(crate) struct Meta<'a> {
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: u64,
    pub(crate) pax: &'a [(&'a str, &'a [u8])],
}

impl Default for Meta<'_> {
    fn default() -> Self {
        Self { mode: 0o644, uid: 0, gid: 0, mtime: 1_000_000_000, pax: &[] }
    }
}

impl Tar {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    /// An entry of any type with any name: the name's checks of the `tar` crate are not ours.
    pub(crate) fn raw(
        mut self,
        kind: u8,
        path: &str,
        link: &str,
        data: &[u8],
        meta: &Meta<'_>,
    ) -> Self {
        if !meta.pax.is_empty() {
            self.0.append_pax_extensions(meta.pax.iter().copied()).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_mode(meta.mode);
        header.set_uid(meta.uid);
        header.set_gid(meta.gid);
        header.set_mtime(meta.mtime);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    pub(crate) fn file(self, path: &str, data: &str) -> Self {
        self.raw(b'0', path, "", data.as_bytes(), &Meta::default())
    }

    pub(crate) fn dir(self, path: &str, mode: u32) -> Self {
        self.raw(b'5', path, "", b"", &Meta { mode, ..Meta::default() })
    }

    pub(crate) fn symlink(self, path: &str, to: &str) -> Self {
        self.raw(b'2', path, to, b"", &Meta { mode: 0o777, ..Meta::default() })
    }

    pub(crate) fn hard_link(self, path: &str, to: &str) -> Self {
        self.raw(b'1', path, to, b"", &Meta::default())
    }

    pub(crate) fn device(mut self, kind: u8, path: &str, device: (u32, u32)) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_path(path).unwrap();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o600);
        header.set_mtime(0);
        header.set_size(0);
        header.set_device_major(device.0).unwrap();
        header.set_device_minor(device.1).unwrap();
        header.set_cksum();
        self.0.append(&header, &b""[..]).unwrap();
        self
    }

    pub(crate) fn build(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Stores an image of these plain layers, as blobs, without naming it.
pub(crate) fn image(store: &Store, layers: &[&[u8]], cmd: &str) -> Image {
    let mut descriptors = Vec::new();
    for layer in layers {
        let digest = store.blobs().put(layer).unwrap();
        descriptors.push(Descriptor::new(media_type::OCI_LAYER, digest, layer.len() as u64));
    }
    let diff_ids = layers.iter().map(|layer| Digest::sha256(layer)).collect();
    image_of(store, descriptors, diff_ids, cmd)
}

pub(crate) fn image_of(
    store: &Store,
    layers: Vec<Descriptor>,
    diff_ids: Vec<Digest>,
    cmd: &str,
) -> Image {
    let mut config = ImageConfig {
        architecture: cutover_store::host_platform().architecture,
        os: "linux".to_owned(),
        created: Some("2024-01-02T03:04:05Z".to_owned()),
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        ..ImageConfig::default()
    };
    config.config.cmd = Some(vec![cmd.to_owned()]);
    let config = serde_json::to_vec(&config).unwrap();
    let size = config.len() as u64;
    let descriptor = Descriptor::new(media_type::OCI_CONFIG, Digest::sha256(&config), size);
    store.images().put(&manifest_bytes(descriptor, layers), &config, None).unwrap()
}
