//! Pulls that unpack while they fetch, go on after a kill, share, and use mirrors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use cutover_registry::{Hosts, Keychain, Silent, pull};

use crate::fixture::{Bench, Content};
use crate::server::{Reply, Server};

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    let content = Content::image(1);
    let layer = content.layers[0].clone();
    let bytes = content.blobs[layer.as_str()].clone();
    let server = Server::start(move |request| content.answer(request));
    let bench = Bench::new();
    // what a program that was killed leaves
    let part = bench.store.root().join(format!("tmp/sha256-{}.part", layer.hex()));
    fs_err::write(&part, &bytes[..60_000]).unwrap();
    let image = bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    let ranges: Vec<_> = server
        .requests("/blobs/")
        .iter()
        .filter_map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, ["bytes=60000-"]);
    assert!(!part.exists());
    assert!(bench.store.snapshots().lowers(&image).is_some(), "it is unpacked");
    bench.assert_clean();
}

#[test]
fn a_damaged_part_is_fetched_anew() {
    let content = Content::image(1);
    let layer = content.layers[0].clone();
    let server = Server::start(move |request| content.answer(request));
    for damaged in [&[0u8; 60_000][..], &[0u8; 200_000][..]] {
        let bench = Bench::new();
        let part = bench.store.root().join(format!("tmp/sha256-{}.part", layer.hex()));
        fs_err::write(&part, damaged).unwrap();
        let image = bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
        assert!(bench.store.snapshots().lowers(&image).is_some());
        bench.assert_clean();
    }
}

#[test]
fn two_pulls_fetch_a_layer_once() {
    let content = Content::image(2);
    // blobs come only when both pulls are there
    let both = Arc::new((Mutex::new(0), Condvar::new()));
    let server = Server::start(move |request| {
        let (count, changed) = &*both;
        if request.target.contains("/manifests/") {
            *count.lock().unwrap() += 1;
            changed.notify_all();
        } else if request.target.contains("/blobs/") {
            drop(changed.wait_while(count.lock().unwrap(), |count| *count < 2).unwrap());
        }
        content.answer(request)
    });
    let bench = Bench::new();
    let reference = format!("{}/team/app:1.0", server.host()).parse().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| pull(&bench.store, &reference, &bench.options, &Silent).unwrap());
        }
    });
    assert_eq!(server.requests("/blobs/").len(), 3);
    bench.assert_clean();
}

#[test]
fn layers_are_unpacked_before_all_have_come() {
    let content = Content::image(2);
    let last = content.layers[1].to_string();
    let bench = Bench::new();
    let first = bench.store.root().join("snapshots").join(content.layers[0].hex());
    // the second layer is held back until the first is a snapshot
    let server = Server::start(move |request| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while request.target.ends_with(&last) && !first.exists() {
            assert!(std::time::Instant::now() < deadline, "the first layer is not unpacked");
            std::thread::yield_now();
        }
        content.answer(request)
    });
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
}

#[test]
fn mirrors_first_then_the_registry() {
    let content = Content::image(2);
    let (own, broken) = (content.clone(), content.layers[1].to_string());
    let server = Server::start(move |request| own.answer(request));
    let count = AtomicUsize::new(0);
    let mirror = Server::start(move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        if request.target.ends_with(&broken) {
            return Reply::new(404, "");
        }
        content.answer(request)
    });
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let text = format!(
        "[registry.\"{}\"]\nmirrors = [\"127.0.0.1:1\", \"{}\"]\n",
        server.host(),
        mirror.host()
    );
    fs_err::write(&config, text).unwrap();
    let mut hosts = Hosts::new(Keychain::default(), Vec::new());
    hosts.read_config(&config).unwrap();
    let mut bench = Bench::new();
    bench.options.hosts = Arc::new(hosts);
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    assert_eq!(mirror.requests("/blobs/").len(), 3);
    assert_eq!(server.requests("/blobs/").len(), 1, "only what the mirror lacks");
    bench.assert_clean();
}
