use super::*;
use crate::fingerprint::FileDigests as _;
use crate::select::From;
use crate::tree::Tree;

#[test]
fn steps_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let key = Digest::sha256(b"key");
    let step = Step { diff_id: Digest::sha256(b"d"), chain_id: Digest::sha256(b"c"), size: 7 };
    assert_eq!(cache.step(&key).unwrap(), None);
    cache.remember(&key, &step, 0).unwrap();
    let again = Cache::open(dir.path()).unwrap();
    assert_eq!(again.step(&key).unwrap().as_ref(), Some(&step));
    assert_eq!(Vec::from_iter(kept_chains(dir.path()).unwrap()), [step.chain_id]);
    forget_cache(dir.path()).unwrap();
    assert_eq!(again.step(&key).unwrap(), None);
}

#[test]
fn a_newer_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    cache.db().execute_batch("PRAGMA user_version = 99").unwrap();
    assert!(matches!(Cache::open(dir.path()), Err(CacheError::Version { version: 99, .. })));
}

#[test]
fn file_digests_are_remembered_unless_the_file_is_young() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("f"), "1").unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let tree = Tree::open(dir.path()).unwrap();
    let from = From { tree: &tree, visible: None };
    let path = Path::new("f");
    let meta = tree.meta(path).unwrap().unwrap();
    let known = |now: i64| {
        let files = Files::load(&cache, dir.path(), now);
        let before = files.is_known(&meta);
        assert_eq!(files.digest(&from, path, &meta).unwrap(), Digest::sha256(b"1"));
        files.save(&cache).unwrap();
        before
    };
    assert!(!known(meta.ctime.0), "nothing is known at first");
    assert!(!known(meta.ctime.0 + 9), "a young file was not remembered");
    assert!(known(meta.ctime.0 + 9), "an old file was");
}
