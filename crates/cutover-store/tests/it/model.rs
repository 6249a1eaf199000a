//! Random layers against a model of the image specification: what an overlay mount of the
//! snapshots shows must be what the words of layer.md say, computed on plain values.

use std::collections::BTreeMap;
use std::path::Path;

use cutover_core::Digest;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::support::{Fixture, Meta, Node, Overlay, Tar, Tree, What, fixture};

/// An entry of a layer, by what it means.
#[derive(Clone, Debug)]
enum Op {
    Dir {
        path: String,
        mode: u32,
        mtime: u64,
    },
    File {
        path: String,
        text: String,
        mtime: u64,
    },
    Symlink {
        path: String,
        to: String,
    },
    /// To what exists at that time; left out otherwise.
    HardLink {
        path: String,
        to: String,
    },
    Whiteout {
        path: String,
    },
    Opaque {
        path: String,
    },
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|parts| parts.join("/"))
}

fn op() -> impl Strategy<Value = Op> {
    let mode = prop::sample::select(vec![0o755, 0o700, 0o1777, 0o2750]);
    let mtime = 1_000_000_000_u64..1_000_000_009;
    prop_oneof![
        3 => (path(), mode, mtime.clone()).prop_map(|(path, mode, mtime)| Op::Dir { path, mode, mtime }),
        4 => (path(), "[xyz]{0,3}", mtime)
            .prop_map(|(path, text, mtime)| Op::File { path, text, mtime }),
        1 => (path(), path()).prop_map(|(path, to)| Op::Symlink { path, to }),
        1 => (path(), path()).prop_map(|(path, to)| Op::HardLink { path, to }),
        3 => path().prop_map(|path| Op::Whiteout { path }),
        1 => prop::option::of(path()).prop_map(|path| Op::Opaque { path: path.unwrap_or_default() }),
    ]
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn is_below(path: &str, dir: &str) -> bool {
    dir.is_empty() && !path.is_empty()
        || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'))
}

fn remove(tree: &mut BTreeMap<String, Node>, path: &str) {
    tree.retain(|other, _| other != path && !is_below(other, path));
}

fn is_dir(tree: &BTreeMap<String, Node>, path: &str) -> bool {
    tree.get(path).is_some_and(|node| node.what == What::Dir)
}

fn node(what: What, mode: u32, mtime: u64) -> Node {
    let mtime = (i64::try_from(mtime).unwrap(), 0);
    Node { what, mode, owner: (0, 0), mtime, xattrs: Vec::new() }
}

/// A layer as a tar and as what it does to a tree.
struct Layer {
    tar: Tar,
    own: BTreeMap<String, Node>,
    whiteouts: Vec<String>,
    opaques: Vec<String>,
}

impl Layer {
    /// Makes the parents of `path` directories: what the tar leaves out is as it was below.
    fn parents(&mut self, base: &BTreeMap<String, Node>, path: &str) {
        let (dir, _) = split(path);
        if dir.is_empty() || is_dir(&self.own, dir) {
            return;
        }
        self.parents(base, dir);
        remove(&mut self.own, dir);
        let implied = match base.get(dir) {
            Some(node) if node.what == What::Dir => node.clone(),
            _ => node(What::Dir, 0o755, 0),
        };
        self.own.insert(dir.to_owned(), implied);
    }

    fn put(&mut self, base: &BTreeMap<String, Node>, path: &str, node: Node) {
        self.parents(base, path);
        if node.what != What::Dir || !is_dir(&self.own, path) {
            remove(&mut self.own, path);
        }
        self.own.insert(path.to_owned(), node);
    }

    fn add(mut self, base: &BTreeMap<String, Node>, op: &Op) -> Self {
        match op {
            Op::Dir { path, mode, mtime } => {
                self.put(base, path, node(What::Dir, *mode, *mtime));
                let meta = Meta { mode: *mode, mtime: *mtime, ..Meta::default() };
                self.tar = self.tar.raw(b'5', path, "", b"", &meta);
            }
            Op::File { path, text, mtime } => {
                self.put(base, path, node(What::File(text.clone().into_bytes()), 0o644, *mtime));
                let meta = Meta { mtime: *mtime, ..Meta::default() };
                self.tar = self.tar.raw(b'0', path, "", text.as_bytes(), &meta);
            }
            Op::Symlink { path, to } => {
                self.put(base, path, node(What::Link(to.clone()), 0o777, 1_000_000_000));
                self.tar = self.tar.symlink(path, to);
            }
            Op::HardLink { path, to } => {
                // Something of this layer in the way hides what is below.
                let hidden = (self.own.iter())
                    .any(|(other, node)| is_below(to, other) && node.what != What::Dir);
                let target = match self.own.get(to) {
                    Some(node) => Some(node),
                    None => base.get(to).filter(|_| !hidden),
                };
                let clear = path != to && !is_below(to, path) && !is_below(path, to);
                match target.cloned() {
                    Some(target) if target.what != What::Dir && clear => {
                        self.put(base, to, target.clone()); // copied up, if it was below
                        self.put(base, path, target);
                        self.tar = self.tar.hard_link(path, to);
                    }
                    _ => {}
                }
            }
            Op::Whiteout { path } => {
                let (dir, name) = split(path);
                let marker = if dir.is_empty() {
                    format!(".wh.{name}")
                } else {
                    format!("{dir}/.wh.{name}")
                };
                self.tar = self.tar.file(&marker, "");
                self.whiteouts.push(path.clone());
            }
            Op::Opaque { path } => {
                let marker = if path.is_empty() {
                    ".wh..wh..opq".into()
                } else {
                    format!("{path}/.wh..wh..opq")
                };
                self.tar = self.tar.file(&marker, "");
                self.opaques.push(path.clone());
            }
        }
        self
    }

    /// The tree after the layer.
    fn over(&self, base: &BTreeMap<String, Node>) -> BTreeMap<String, Node> {
        let mut tree = base.clone();
        tree.retain(|path, _| {
            let hidden = |whiteout: &String| path == whiteout || is_below(path, whiteout);
            let emptied = |opaque: &String| {
                is_below(path, opaque) && (opaque.is_empty() || is_dir(base, opaque))
            };
            !self.whiteouts.iter().any(hidden) && !self.opaques.iter().any(emptied)
        });
        for (path, node) in &self.own {
            if node.what != What::Dir || !is_dir(&tree, path) {
                remove(&mut tree, path);
            }
            tree.insert(path.clone(), node.clone());
        }
        tree
    }
}

fn layer(base: &BTreeMap<String, Node>, ops: &[Op]) -> Layer {
    let empty =
        Layer { tar: Tar::new(), own: BTreeMap::new(), whiteouts: Vec::new(), opaques: Vec::new() };
    ops.iter().fold(empty, |layer, op| layer.add(base, op))
}

/// Applies the layers to a store and to the model.
fn apply(fixture: &Fixture, layers: &[Vec<Op>]) -> (Vec<Digest>, Tree) {
    let (mut chain, mut model) = (Vec::new(), BTreeMap::new());
    for ops in layers {
        let layer = layer(&model, ops);
        model = layer.over(&model);
        chain.push(fixture.apply(chain.last(), &layer.tar.build()).unwrap());
    }
    model.insert(String::new(), node(What::Dir, 0o755, 0));
    (chain, Tree(model))
}

/// What a program in a container does; failures are part of it.
fn act(root: &Path, op: &Op) {
    let target = |path: &str| root.join(path);
    match op {
        Op::Dir { path, .. } => drop(fs_err::create_dir_all(target(path))),
        Op::File { path, text, .. } => drop(fs_err::write(target(path), text)),
        Op::Symlink { path, to } => drop(std::os::unix::fs::symlink(to, target(path))),
        Op::HardLink { path, to } => {
            drop(fs_err::hard_link(target(to), target(path)).or_else(|_| {
                fs_err::rename(target(to), target(path)) // of directories: exercises EXDEV
            }));
        }
        Op::Whiteout { path } => {
            drop(
                fs_err::remove_dir_all(target(path)).or_else(|_| fs_err::remove_file(target(path))),
            );
        }
        Op::Opaque { path } if path.is_empty() => {}
        Op::Opaque { path } => {
            if fs_err::remove_dir_all(target(path)).is_ok() {
                drop(fs_err::create_dir(target(path)));
            }
        }
    }
}

/// Gives every file a time, so that trees made at different moments can be compared.
fn settle_times(root: &Path, tree: &Tree) {
    let time = Timespec { tv_sec: 1_234_567, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    for path in tree.0.keys() {
        utimensat(CWD, root.join(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// Runs `check` on random inputs. The stores are made once: that syncs, the cases need not.
fn check<S: Strategy>(input: &S, check: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = ProptestConfig {
        cases: ProptestConfig::default().cases / 5, // a case mounts
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if let Err(error) = TestRunner::new(config).run(input, check) {
        panic!("{error}");
    }
}

fn layers(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<Op>>> {
    prop::collection::vec(prop::collection::vec(op(), 0..12), count)
}

#[test]
fn layers_applied_and_mounted_equal_the_model() {
    let fixture = fixture();
    check(&layers(1..5), |layers| {
        let (chain, model) = apply(&fixture, &layers);
        let tree = fixture.tree(&chain);
        prop_assert!(tree == model, "mounted: {tree:?}\nmodel: {model:?}");
        Ok(())
    });
}

#[test]
fn a_draft_leaves_and_comes_back_the_same() {
    let (fixture, other) = (fixture(), fixture());
    let acts = prop::collection::vec(op(), 1..16);
    check(&(layers(0..3), acts), |(layers, acts)| {
        let (mut chain, _) = apply(&fixture, &layers);
        let (mut other_chain, _) = apply(&other, &layers);

        let snapshots = fixture.store.snapshots();
        let draft = snapshots.draft(&chain).unwrap();
        let upper = Some((draft.upper.as_path(), draft.work.as_path()));
        let merged = Overlay::mount(fixture.dir.path(), &draft.lowers, upper);
        acts.iter().for_each(|op| act(&merged.path, op));
        settle_times(&merged.path, &Tree::read(&merged.path));
        let expected = Tree::read(&merged.path);
        drop(merged);
        let layer = draft.commit("").unwrap();
        chain.push(layer.chain_id.clone());
        let mut here = fixture.tree(&chain);
        // Nor does the digest cover it: an equal layer of an earlier case is taken as it is.
        here.0.get_mut("").unwrap().mtime = expected.node("").mtime;
        prop_assert!(here == expected, "snapshot: {here:?}\nexpected: {expected:?}");

        let mut tar = Vec::new();
        snapshots.write_tar(&layer.chain_id, &mut tar).unwrap();
        prop_assert_eq!(Digest::sha256(&tar), layer.diff_id);
        prop_assert_eq!(tar.len() as u64, layer.size);
        other_chain.push(other.apply(other_chain.last(), &tar).unwrap());
        let mut there = other.tree(&other_chain);
        // The tar does not say the time of a root that was not changed otherwise.
        there.0.get_mut("").unwrap().mtime = expected.node("").mtime;
        prop_assert!(there == expected, "sent: {there:?}\nexpected: {expected:?}");
        Ok(())
    });
}
