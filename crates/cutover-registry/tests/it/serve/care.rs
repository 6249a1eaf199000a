//! Garbage, damage, rollback, retention: while the registry serves, and when it does not.

use std::sync::RwLock;
use std::sync::atomic::Ordering;

use cutover_core::Digest;
use cutover_registry::server::{Ambient, Collected, Order, Report, care};

use super::client::image;
use super::{CLOCK, Registry, movable, now, random};

const AMBIENT: Ambient = Ambient { now, random };

fn order(registry: &Registry, order: &Order) -> Report {
    care(&registry.data(), order, "root", AMBIENT).unwrap()
}

fn gc(registry: &Registry, untagged: bool) -> Collected {
    match order(registry, &Order::Gc { grace: 3600, untagged, dry_run: false }) {
        Report::Collected(collected) => collected,
        other => panic!("{other:?}"),
    }
}

/// An hour and a bit later.
fn later() {
    CLOCK.fetch_add(3700, Ordering::SeqCst);
}

#[test]
fn garbage_goes_and_what_is_used_stays() {
    let registry = Registry::with_policy(movable);
    let mut client = registry.client();
    let kept = client.push_image("a", "latest", "kept");
    let old = client.push_image("a", "old", "old");
    let loose = client.push_blob("a", &[1; 5000]);
    client.push_blob("b", &[1; 5000]);
    // an index holds its images, a subject what is about it
    let child = client.push_image("a", "child", "child");
    let index = format!(r#"{{"manifests":[{{"digest":"{child}"}}]}}"#);
    client.push_manifest("a", "index", index.as_bytes()).expect(201);
    let about = format!(r#","subject":{{"digest":"{kept}"}}"#);
    let about = image(&client.push_blob("a", b"sbom"), &[], &about);
    let about_digest = Digest::sha256(about.as_bytes());
    client.push_manifest("a", about_digest.as_str(), about.as_bytes()).expect(201);
    client.delete("/v2/a/manifests/child").expect(202);
    client.delete("/v2/a/manifests/old").expect(202);

    assert_eq!(gc(&registry, true), Collected::default(), "all of it is young");
    later();
    // whoever is told that a blob is there may rely on it
    client.head(&format!("/v2/a/blobs/{loose}")).expect(200);
    let collected = gc(&registry, false);
    assert_eq!((collected.links, collected.blobs, collected.manifests), (1, 0, 0), "of b");
    client.head(&format!("/v2/a/blobs/{loose}")).expect(200);
    later();
    let dry = order(&registry, &Order::Gc { grace: 3600, untagged: true, dry_run: true });
    let collected = gc(&registry, true);
    assert_eq!((collected.manifests, collected.links, collected.blobs), (1, 3, 3));
    assert!(collected.bytes > 5000);
    let Report::Collected(dry) = dry else { panic!("{dry:?}") };
    assert_eq!(dry.manifests, 1, "a dry run removes nothing and so sees less: {dry:?}");
    for (digest, status) in [(&kept, 200), (&child, 200), (&about_digest, 200), (&old, 404)] {
        assert_eq!(client.head(&format!("/v2/a/manifests/{digest}")).status, status, "{digest}");
    }
    assert_eq!(client.head(&format!("/v2/a/blobs/{loose}")).status, 404);
    // an index that goes lets its images go
    client.delete("/v2/a/manifests/index").expect(202);
    assert_eq!(gc(&registry, true).manifests, 2);
    // and the same without a server
    let data = registry.data();
    client.delete("/v2/a/manifests/latest").expect(202);
    let dir = std::sync::Arc::clone(&registry.dir);
    drop(registry);
    later();
    let all = Order::Gc { grace: 3600, untagged: true, dry_run: false };
    let Report::Collected(collected) = care(&data, &all, "root", AMBIENT).unwrap() else {
        panic!("not collected")
    };
    assert_eq!(collected.manifests, 2);
    let registry = Registry::at(dir, |_| {});
    assert_eq!(registry.client().get("/v2/_catalog").json()["repositories"], serde_json::json!([]));
}

/// Uploads that were given up, and what a crash leaves between a file and its row.
#[test]
fn leftovers_go() {
    let registry = Registry::start();
    let mut client = registry.client();
    let at = client.begin("a");
    client.send("PATCH", &at, &[], b"given up").expect(202);
    let stray = Digest::sha256(b"stray");
    let path = registry.data().join("blobs/sha256").join(&stray.hex()[..2]);
    fs_err::create_dir_all(&path).unwrap();
    fs_err::write(path.join(stray.hex()), b"stray").unwrap();
    let before = CLOCK.swap(4_000_000_000, Ordering::SeqCst);
    let collected = gc(&registry, false);
    CLOCK.store(before, Ordering::SeqCst);
    assert_eq!((collected.uploads, collected.blobs, collected.bytes), (1, 1, 5));
    assert_eq!(client.get(&at).short(), "404 BLOB_UPLOAD_UNKNOWN");
    assert!(!path.join(stray.hex()).exists());
}

/// Collecting beside pushes. Time leaps between pushes, not within one.
#[test]
fn garbage_goes_while_others_push() {
    let registry = Registry::with_policy(movable);
    let time = RwLock::new(());
    std::thread::scope(|scope| {
        let (registry, time) = (&registry, &time);
        for pusher in 0..3 {
            scope.spawn(move || {
                let mut client = registry.client();
                for round in 0..30 {
                    let _time_stands = time.read().unwrap();
                    // layers are shared, and garbage most of the time
                    let layer = Digest::sha256(&[round % 5]);
                    let path = format!("/v2/a/blobs/{layer}");
                    if client.head(&path).status == 404 {
                        assert_eq!(client.push_blob("a", &[round % 5]), layer);
                    }
                    let text = image(&layer, &[], &format!(r#","n":"{pusher}-{round}""#));
                    client.push_manifest("a", &format!("p{pusher}"), text.as_bytes()).expect(201);
                    assert_eq!(client.get(&path).expect(200).body, [round % 5]);
                }
            });
        }
        let collector = scope.spawn(move || {
            let mut collected = 0;
            for _ in 0..30 {
                drop(time.write().map(|_leaps| later()));
                collected += gc(registry, true).manifests;
            }
            collected
        });
        assert!(collector.join().unwrap() > 0);
    });
}

#[test]
fn damage_is_named_and_can_be_forgotten() {
    let registry = Registry::start();
    let mut client = registry.client();
    client.push_image("a", "latest", "x");
    let whole = order(&registry, &Order::Fsck { forget: false });
    assert!(
        matches!(&whole, Report::Checked { blobs: 2, manifests: 1, damaged, .. } if damaged.is_empty())
    );
    let hurt = Digest::sha256(b"x");
    let file = registry.data().join("blobs/sha256").join(&hurt.hex()[..2]).join(hurt.hex());
    fs_err::write(&file, b"y").unwrap();
    for forget in [false, true] {
        let Report::Checked { damaged, .. } = order(&registry, &Order::Fsck { forget }) else {
            panic!("not checked")
        };
        let [damage] = &damaged[..] else { panic!("{damaged:?}") };
        assert_eq!(
            (&damage.digest, &damage.repositories),
            (&hurt.to_string(), &vec!["a".to_owned()])
        );
        assert_eq!(damage.what, format!("its bytes are those of {}", Digest::sha256(b"y")));
    }
    // the next push does not skip it
    assert_eq!(client.head(&format!("/v2/a/blobs/{hurt}")).status, 404);
    client.push_image("a", "latest", "x");
    let whole = order(&registry, &Order::Fsck { forget: false });
    assert!(matches!(&whole, Report::Checked { damaged, .. } if damaged.is_empty()), "{whole:?}");
}

#[test]
fn a_repository_is_rolled_back() {
    let registry = Registry::start();
    let mut client = registry.client();
    let first = client.push_image("a", "latest", "first");
    client.push_image("a", "1.0.0", "first");
    let all = Order::History { repository: "a".to_owned(), tag: None, count: 100 };
    let Report::History { entries } = order(&registry, &all) else { panic!("no history") };
    let then = entries[0].id;
    let second = client.push_image("a", "latest", "second");
    client.push_image("a", "1.1.0", "second");
    client.delete("/v2/a/manifests/1.0.0").expect(202);
    let back =
        |dry_run| Order::Rollback { repository: "a".to_owned(), tag: None, to: then, dry_run };
    let Report::Moved { tags: would } = order(&registry, &back(true)) else { panic!("not moved") };
    assert_eq!(client.get("/v2/a/manifests/1.0.0").status, 404, "a dry run changes nothing");
    let Report::Moved { tags } = order(&registry, &back(false)) else { panic!("not moved") };
    assert_eq!(would, tags);
    assert_eq!(tags.len(), 3);
    assert_eq!(
        client.get("/v2/a/tags/list").json()["tags"],
        serde_json::json!(["1.0.0", "latest"])
    );
    let latest = client.head("/v2/a/manifests/latest").expect(200);
    assert_eq!(latest.header("docker-content-digest"), first.as_str());
    let Report::History { entries } = order(&registry, &all) else { panic!("no history") };
    assert!(entries[..3].iter().all(|it| it.what == "rollback" && it.who == "root"));
    // back to what is gone
    client.delete(&format!("/v2/a/manifests/{second}")).expect(202);
    let to = entries[2].id - 1;
    let gone = Order::Rollback { repository: "a".to_owned(), tag: None, to, dry_run: false };
    let refused = care(&registry.data(), &gone, "root", AMBIENT).unwrap_err().to_string();
    assert!(refused.contains("which was deleted since"), "{refused}");
}

#[test]
fn only_the_newest_tags_stay() {
    let registry = Registry::start();
    let mut client = registry.client();
    for tag in ["1.0.0", "1.1.0", "1.2.0", "latest"] {
        client.push_image("team/a", tag, tag);
        CLOCK.fetch_add(1, Ordering::SeqCst);
    }
    let retain = Order::Retain {
        repositories: "team/*".to_owned(),
        tags: "1.*".to_owned(),
        keep: 2,
        dry_run: false,
    };
    let Report::Moved { tags } = order(&registry, &retain) else { panic!("not retained") };
    assert_eq!(tags.iter().map(|it| &*it.tag).collect::<Vec<_>>(), ["1.0.0"]);
    let list = client.get("/v2/team/a/tags/list").json();
    assert_eq!(list["tags"], serde_json::json!(["1.1.0", "1.2.0", "latest"]));
}
