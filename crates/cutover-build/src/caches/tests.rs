use super::*;

/// Takes `a` of `caches`; a new instance gets a file.
fn take(caches: &CacheMounts, sharing: Sharing, cancel: &Cancel) -> Result<Held, CacheMountError> {
    let identity = Identity::new("", "a");
    let wish = Wish { identity: &identity, sharing, now: 7, cancel };
    caches.take(&wish, |dir| {
        fs_err::write(dir.join("begun"), "").unwrap();
        Ok(())
    })
}

fn numbers(held: &[&Held]) -> Vec<String> {
    held.iter().map(|one| one.data.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

#[test]
fn who_shares_what() {
    let root = tempfile::tempdir().unwrap();
    let caches = CacheMounts::of(root.path());
    let cancel = Cancel::new();
    let take = |sharing| take(&caches, sharing, &cancel).unwrap();
    let (one, two) = (take(Sharing::Shared), take(Sharing::Shared));
    let private = take(Sharing::Private);
    // Somebody has 0 and somebody has 1, but neither is alone.
    let third = take(Sharing::Private);
    assert_eq!(numbers(&[&one, &two, &private, &third]), ["0", "0", "1", "2"]);
    drop((private, third));
    let locked = take(Sharing::Locked);
    assert_eq!(numbers(&[&locked, &take(Sharing::Shared)]), ["1", "0"]);
    assert!(one.data.join("begun").exists() && locked.data.join("begun").exists());
    let list = caches.list().unwrap();
    let shown: Vec<_> = list.iter().map(|one| (one.in_use, one.last_used)).collect();
    assert_eq!(shown, [(true, 7), (true, 7), (false, 7)]);
    assert!(matches!(caches.export("a", Vec::new()), Err(CacheMountError::Ambiguous { .. })));
    assert!(matches!(caches.remove(&list[0].name), Err(CacheMountError::InUse { .. })));
    // What is in use stays.
    assert_eq!(caches.prune(&|_| true).unwrap().len(), 1);
    drop((one, two, locked));
    assert_eq!(caches.prune(&|_| true).unwrap().len(), 2);
    assert_eq!(fs_err::read_dir(root.path().join("cache-mounts")).unwrap().count(), 0);
}

#[test]
fn a_wait_for_a_locked_cache_can_be_canceled() {
    let root = tempfile::tempdir().unwrap();
    let caches = CacheMounts::of(root.path());
    let cancel = Cancel::new();
    let held = take(&caches, Sharing::Locked, &cancel).unwrap();
    cancel.raise();
    let error = take(&caches, Sharing::Locked, &cancel).unwrap_err();
    assert_eq!(error.to_string(), "the wait for the cache mount `a` was canceled");
    drop(held);
    take(&caches, Sharing::Locked, &cancel).unwrap();
}

#[test]
fn one_that_could_not_be_filled_is_not_there() {
    let root = tempfile::tempdir().unwrap();
    let caches = CacheMounts::of(root.path());
    let identity = Identity::new("", "a");
    let cancel = Cancel::new();
    let wish = Wish { identity: &identity, sharing: Sharing::Shared, now: 7, cancel: &cancel };
    let result: Result<_, CacheMountError> = caches.take(&wish, |dir| {
        fs_err::write(dir.join("half"), "").unwrap();
        Err(CacheMountError::NotFound { id: "x".to_owned() })
    });
    result.unwrap_err();
    assert!(caches.list().unwrap().is_empty());
    let held = take(&caches, Sharing::Shared, &cancel).unwrap();
    assert!(held.data.join("begun").exists() && !held.data.join("half").exists());
}

/// The pruner takes a cache away while others come for it: each gets one that exists.
#[test]
fn taking_and_pruning_at_the_same_time() {
    let root = tempfile::tempdir().unwrap();
    let caches = CacheMounts::of(root.path());
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        for sharing in [Sharing::Shared, Sharing::Private, Sharing::Locked] {
            let (caches, cancel) = (&caches, &cancel);
            scope.spawn(move || {
                for _ in 0..100 {
                    let held = take(caches, sharing, cancel).unwrap();
                    assert!(held.data.join("begun").exists());
                }
            });
        }
        for _ in 0..100 {
            caches.prune(&|_| true).unwrap();
        }
    });
}

#[test]
fn ids_and_what_a_cache_began_with_tell_them_apart() {
    let plain = Identity::new("", "a");
    let access = |mode| Access { mode, uid: 1, gid: 2 };
    let keys = [
        plain.clone().key(),
        Identity::new("n", "a").key(),
        plain.clone().and_owned(access(0o755)).key(),
        plain.clone().and_owned(access(0o700)).key(),
        Identity { base: "sha256:x".to_owned(), ..plain }.and_owned(access(0o700)).key(),
    ];
    let different: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
}

/// A container in the making has copies of all descriptors until its program runs.
#[test]
fn a_copy_of_the_descriptor_does_not_hold_the_lock() {
    let root = tempfile::tempdir().unwrap();
    let caches = CacheMounts::of(root.path());
    let cancel = Cancel::new();
    let held = take(&caches, Sharing::Locked, &cancel).unwrap();
    let _copy = held._lock.0.file().try_clone().unwrap();
    drop(held);
    cancel.raise();
    assert_eq!(numbers(&[&take(&caches, Sharing::Locked, &cancel).unwrap()]), ["0"]);
}
