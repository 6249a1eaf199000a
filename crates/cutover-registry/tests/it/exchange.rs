//! Images from one store to another over pipes, with a cut, and with a sender that lies.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::thread;

use cutover_core::oci::{Descriptor, media_type};
use cutover_core::{Digest, Reference};
use cutover_registry::exchange::{ExchangeError, Named, ReceiveError, receive, send};
use cutover_registry::{Event, Silent};
use cutover_store::Store;

use crate::fixture::{Bench, Content};

/// A store with the image of `content`, named.
fn stocked(content: &Content, name: &str) -> (Bench, Named) {
    let bench = Bench::new();
    let blobs = bench.store.blobs();
    for blob in content.blobs.values() {
        blobs.put(blob).unwrap();
    }
    let (_, manifest) = &content.manifests["1.0"];
    let image: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    let config = &content.blobs[image["config"]["digest"].as_str().unwrap()];
    let name: Reference = name.parse().unwrap();
    let image = bench.store.images().put(manifest, config, Some(&name)).unwrap();
    (bench, Named { name, digest: image.digest })
}

/// Passes `left` bytes on and then breaks off; counts.
struct Cut {
    to: PipeWriter,
    left: usize,
    passed: usize,
}

impl Write for Cut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let count = self.to.write(&bytes[..bytes.len().min(self.left)])?;
        self.left -= count;
        self.passed += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends at most `most` bytes; returns how many went, and what both sides say.
fn exchange(
    from: &Bench,
    images: &[Named],
    to: &Bench,
    most: usize,
) -> (usize, Result<(), ExchangeError>, Result<Vec<Named>, ReceiveError>) {
    let (there, ours) = io::pipe().unwrap();
    let (back, theirs) = io::pipe().unwrap();
    thread::scope(|scope| {
        let received = scope.spawn(|| receive(&to.store, &to.options.platform, there, theirs));
        let mut cut = Cut { to: ours, left: most, passed: 0 };
        let sent = send(&from.store, images, back, &mut cut, &from.events);
        let passed = cut.passed;
        drop(cut);
        (passed, sent, received.join().unwrap())
    })
}

fn has(store: &Store, image: &Named) {
    let found = store.images().get(&image.name).unwrap().expect("the image has its name");
    assert_eq!(found.digest, image.digest);
    assert!(store.snapshots().lowers(&found).is_some(), "unpacked");
}

#[test]
fn sends_what_is_missing_and_once_only() {
    let content = Content::image(3);
    let (from, image) = stocked(&content, "team/app:1.0");
    let to = Bench::new();
    let (first, sent, received) = exchange(&from, std::slice::from_ref(&image), &to, usize::MAX);
    sent.unwrap();
    assert_eq!(received.unwrap(), std::slice::from_ref(&image));
    has(&to.store, &image);
    to.assert_clean();
    assert!(first > 250_000, "three layers of 100 kB that do not compress: {first}");

    let (again, sent, _) = exchange(&from, std::slice::from_ref(&image), &to, usize::MAX);
    sent.unwrap();
    assert!(again < 5_000, "{again} bytes for an image that is there");
    let events = from.events.0.lock().unwrap();
    let present = events.iter().filter(|event| matches!(event, Event::Present { .. })).count();
    assert_eq!(present, 3);
}

/// A store with an image whose only layer is a snapshot, as after a build, with one large file.
fn built(size: usize) -> (Bench, Named) {
    let bench = Bench::new();
    let store = &bench.store;
    let draft = store.snapshots().draft(&[]).unwrap();
    let bytes: Vec<u8> = (0..=255).flat_map(crate::fixture::content).take(size).collect();
    fs_err::write(draft.upper.join("large"), bytes).unwrap();
    let layer = draft.commit("1970-01-01T00:00:00Z").unwrap();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]}});
    let config = serde_json::to_vec(&config).unwrap();
    let describe = |kind, digest, size| Descriptor::new(kind, digest, size);
    let manifest = cutover_store::manifest_bytes(
        describe(media_type::OCI_CONFIG, Digest::sha256(&config), config.len() as u64),
        vec![describe(media_type::OCI_LAYER, layer.diff_id, layer.size)],
    );
    let name: Reference = "built:1".parse().unwrap();
    let image = store.images().put(&manifest, &config, Some(&name)).unwrap();
    (bench, Named { name, digest: image.digest })
}

#[test]
fn a_layer_that_is_only_unpacked_is_made_anew_on_both_sides() {
    let (from, image) = built(300_000);
    let to = Bench::new();
    let (_, sent, received) = exchange(&from, std::slice::from_ref(&image), &to, usize::MAX);
    sent.unwrap();
    received.unwrap();
    has(&to.store, &image);
    let layer = to.store.images().get(&image.name).unwrap().unwrap().manifest.layers[0].clone();
    to.store.blobs().remove(&layer.digest).unwrap();
    let (again, sent, _) = exchange(&from, std::slice::from_ref(&image), &to, usize::MAX);
    sent.unwrap();
    assert!(again < 5_000, "{again}");
}

#[test]
fn goes_on_where_a_stream_broke() {
    let (from, image) = built(2_000_000);
    for most in [1_500_000, 20_000, 500] {
        let to = Bench::new();
        let (first, sent, received) = exchange(&from, std::slice::from_ref(&image), &to, most);
        assert!(matches!(sent, Err(ExchangeError::Broken(_))), "{sent:?}");
        assert!(received.is_err());
        assert!(to.store.images().get(&image.name).unwrap().is_none(), "no name before the end");
        let (second, sent, received) =
            exchange(&from, std::slice::from_ref(&image), &to, usize::MAX);
        sent.unwrap();
        received.unwrap();
        has(&to.store, &image);
        to.assert_clean();
        // what a compressor had not given out is sent again, no more
        assert!(first + second < 2_500_000, "{first} and {second} after a cut at {most}");
        assert!(most < 1_000_000 || second < 1_000_000, "a part must have been kept: {second}");
    }
}

#[test]
fn an_index_goes_as_a_whole_and_its_name_means_the_image_for_this_machine() {
    let (from, amd) = stocked(&Content::image_from(0, 1), "app:amd");
    let arm = Content::image_from(5, 1);
    for blob in arm.blobs.values().chain([&arm.manifests["1.0"].1]) {
        from.store.blobs().put(blob).unwrap();
    }
    let entry = |digest: &Digest, arch: &str| {
        serde_json::json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": from.store.blobs().size(digest).unwrap(),
            "platform": {"os": "linux", "architecture": arch}})
    };
    let arm = arm.image.unwrap();
    let index = serde_json::json!({"schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry(&arm, "arm64"), entry(&amd.digest, "amd64")]});
    let index = from.store.blobs().put(&serde_json::to_vec(&index).unwrap()).unwrap();
    let name: Reference = "app:all".parse().unwrap();
    let to = Bench::new();
    let images = [Named { name: name.clone(), digest: index.clone() }];
    let (_, sent, received) = exchange(&from, &images, &to, usize::MAX);
    sent.unwrap();
    received.unwrap();
    let found = to.store.images().get(&name).unwrap().unwrap();
    assert_eq!(found.digest, amd.digest);
    assert!(to.store.images().get(&name.at(index)).unwrap().is_some());
    assert!(to.store.blobs().contains(&arm));
}

/// What the receiver says to a sender that says `bytes`.
fn answer(bytes: &[u8]) -> (String, Bench) {
    let to = Bench::new();
    let mut answer = Vec::new();
    let error = receive(&to.store, &to.options.platform, bytes, &mut answer).unwrap_err();
    to.assert_clean();
    assert!(to.store.images().digests().unwrap().is_empty());
    (error.cause.to_string(), to)
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[kind], length.as_slice(), payload].concat()
}

#[test]
fn hostile_senders_are_refused() {
    let check = |parts: &[Vec<u8>], expected: &str| {
        let (error, _) = answer(&[b"cutover exchange 1\n".to_vec(), parts.concat()].concat());
        assert!(error.contains(expected), "{error}");
    };
    let digest = Digest::sha256(b"{}");
    let document = |size: u64| {
        frame(
            b'M',
            format!(r#"{{"type":"document","digest":"{digest}","size":{size}}}"#).as_bytes(),
        )
    };
    let name =
        frame(b'M', format!(r#"{{"type":"image","name":"app:1","digest":"{digest}"}}"#).as_bytes());
    let offered = frame(b'M', br#"{"type":"offered"}"#);
    check(&[document(2), frame(b'D', b"[]"), frame(b'E', b"")], "other bytes");
    check(&[document(2), frame(b'D', b"{}!"), frame(b'E', b"")], "another size");
    check(&[document(u64::MAX)], "too many or too large");
    check(&[vec![b'M', 0xff, 0xff, 0xff, 0xff]], "a frame of 4294967295 bytes");
    check(&[frame(b'x', b"")], "unknown kind");
    check(&[frame(b'M', b"{")], "cannot be understood");
    check(std::slice::from_ref(&offered), "not an offer");
    check(&[name, offered], "was not sent");
    check(&[], "broke off");
    assert!(answer(b"SSH-2.0-x\r\n").0.contains("it said `SSH-2.0-x`"));
}

#[test]
fn a_blob_with_other_bytes_is_not_kept() {
    let content = Content::image(1);
    for (lie, expected) in [(0, "other bytes"), (1, "more than its")] {
        let (from, image) = stocked(&content, "app:1");
        let layer = from.store.blobs().path(&content.layers[0]);
        let mut bytes = fs_err::read(&layer).unwrap();
        bytes[600] ^= 1;
        bytes.extend(vec![7; lie]);
        std::fs::set_permissions(&layer, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        fs_err::write(&layer, bytes).unwrap();
        let to = Bench::new();
        let (_, sent, received) = exchange(&from, std::slice::from_ref(&image), &to, usize::MAX);
        let received = received.unwrap_err();
        assert!(received.told && received.cause.to_string().contains(expected), "{received:?}");
        assert!(sent.unwrap_err().to_string().contains(expected));
        assert!(!to.store.blobs().contains(&content.layers[0]));
        to.assert_clean();
    }
}

#[test]
fn someone_else_on_the_other_end() {
    let (from, image) = stocked(&Content::image(1), "app:1");
    let check = |said: &[u8], expected: &str| {
        let error =
            send(&from.store, std::slice::from_ref(&image), said, io::sink(), &Silent).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(b"sh: cutover: not found\n", "it said `sh: cutover: not found`");
    check(b"", "it said nothing");
    let endless: PipeReader = {
        let (reader, mut writer) = io::pipe().unwrap();
        thread::spawn(move || while writer.write_all(&[b'x'; 4096]).is_ok() {});
        reader
    };
    let error =
        send(&from.store, std::slice::from_ref(&image), endless.take(1 << 20), io::sink(), &Silent);
    assert!(error.unwrap_err().to_string().contains("it said `xxx"));
}
