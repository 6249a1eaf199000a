//! Archives of our own making: forms, names, damage.

use std::io::Write;

use cutover_core::oci::{Descriptor, ImageConfig, Index, Platform, media_type};
use cutover_core::{Digest, Reference};
use cutover_store::archive::{self, Format, Loaded};
use cutover_store::{Store, host_platform};

use crate::support::{Fixture, Meta, Tar, chain, fixture, image};

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn save(store: &Store, names: &[&str], format: Format) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|text| name(text)).collect();
    let mut bytes = Vec::new();
    archive::save(store, &names, format, &mut bytes).unwrap();
    bytes
}

/// Two images that share a layer, and their archive.
fn two_images(fixture: &Fixture) -> (Digest, Digest) {
    let base = Tar::new().file("base", "base").build();
    let top = Tar::new().file("top", "top").build();
    let one = image(&fixture.store, &[&base], "one");
    let two = image(&fixture.store, &[&base, &top, &base], "two");
    fixture.store.images().tag(&name("one"), &one.digest).unwrap();
    fixture.store.images().tag(&name("reg.test/two:2"), &two.digest).unwrap();
    fixture.store.images().tag(&name("reg.test/two:latest"), &two.digest).unwrap();
    (one.digest, two.digest)
}

fn names(loaded: &[Loaded]) -> Vec<String> {
    let shown = |entry: &Loaded| entry.reference.as_ref().map_or("-".into(), ToString::to_string);
    loaded.iter().map(shown).collect()
}

#[test]
fn images_survive_a_round_trip() {
    for format in [Format::Both, Format::OciArchive, Format::DockerArchive] {
        let fixture = fixture();
        let (_, two) = two_images(&fixture);
        let all = ["one", "reg.test/two:2", "reg.test/two"];
        let saved = save(&fixture.store, &all, format);
        assert_eq!(saved, save(&fixture.store, &all, format), "saving is deterministic");
        let other = self::fixture();
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped.write_all(&saved).unwrap();
        let zipped = zipped.finish().unwrap();
        let zstd = zstd::encode_all(saved.as_slice(), 1).unwrap();
        for bytes in [saved, zipped, zstd] {
            let loaded = archive::load(&other.store, bytes.as_slice()).unwrap();
            assert_eq!(names(&loaded), ["one:latest", "reg.test/two:2", "reg.test/two:latest"]);
            let found = other.store.images().get(&name("reg.test/two:2")).unwrap().unwrap();
            assert_eq!(found.digest, two, "{format:?}");
            other.store.snapshots().ensure(&found, &mut |_| {}).unwrap();
            assert_eq!(other.tree(&found.chain_ids).paths(), ["base", "top"]);
        }
        assert_eq!(other.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn an_image_without_a_name_is_loaded_without_one() {
    let fixture = fixture();
    let image = image(&fixture.store, &[&Tar::new().file("f", "").build()], "x");
    let mut bytes = Vec::new();
    archive::save_images(&fixture.store, &[(image.clone(), vec![])], Format::Both, &mut bytes)
        .unwrap();
    let other = self::fixture();
    let loaded = archive::load(&other.store, bytes.as_slice()).unwrap();
    assert_eq!(loaded, [Loaded { reference: None, digest: image.digest }]);
}

/// A config of docker's with these layers.
fn docker_config(layers: &[&[u8]]) -> Vec<u8> {
    let mut config =
        ImageConfig { architecture: "amd64".into(), os: "linux".into(), ..ImageConfig::default() };
    config.rootfs.diff_ids = layers.iter().map(|layer| Digest::sha256(layer)).collect();
    serde_json::to_vec(&config).unwrap()
}

fn file(tar: Tar, path: &str, bytes: &[u8]) -> Tar {
    tar.raw(b'0', path, "", bytes, &Meta::default())
}

#[test]
fn layers_that_docker_links_are_found() {
    // docker before 25 stores a layer that comes twice as a link to the first.
    let layer = Tar::new().file("f", "f").build();
    let config = docker_config(&[&layer, &layer]);
    let manifest =
        r#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["one/layer.tar","two/layer.tar"]}]"#;
    let tar = Tar::new().symlink("one/layer.tar", "../two/layer.tar");
    let tar = file(tar.file("one/VERSION", "1.0"), "two/layer.tar", &layer);
    let tar = file(file(tar, "c.json", &config), "manifest.json", manifest.as_bytes());
    let fixture = fixture();
    let loaded = archive::load(&fixture.store, tar.build().as_slice()).unwrap();
    assert_eq!(names(&loaded), ["a:1"]);
    let image = fixture.store.images().get(&name("a:1")).unwrap().unwrap();
    assert_eq!(image.chain_ids.len(), 2);
    assert_eq!(image.config_digest, Digest::sha256(&config));
    fixture.store.snapshots().ensure(&image, &mut |_| {}).unwrap();
}

#[test]
fn an_index_within_the_layout_chooses_this_machine() {
    let fixture = fixture();
    let (one, _) = two_images(&fixture);
    let mut saved = fixture_contents(&save(&fixture.store, &["one"], Format::OciArchive));
    let manifest = saved.iter().find(|(path, _)| path.ends_with(one.hex())).unwrap().1.len() as u64;
    let mine = Descriptor {
        platform: Some(host_platform()),
        ..Descriptor::new(media_type::OCI_MANIFEST, one.clone(), manifest)
    };
    // Its blobs are not in the archive: they need not be.
    let other = Descriptor {
        platform: Some(Platform::new("linux", "s390x")),
        ..Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(b"other"), 5)
    };
    let index = |manifests| Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.into()),
        manifests,
        annotations: Default::default(),
    };
    let nested = serde_json::to_vec(&index(vec![other, mine])).unwrap();
    let digest = Digest::sha256(&nested);
    let mut entry = Descriptor::new(media_type::OCI_INDEX, digest.clone(), nested.len() as u64);
    entry.annotations.insert("io.containerd.image.name".into(), "docker.io/library/n:1".into());
    let top = serde_json::to_vec(&index(vec![entry])).unwrap();
    saved.retain(|(path, _)| path != "index.json");
    saved.push((format!("blobs/sha256/{}", digest.hex()), nested));
    saved.push(("index.json".into(), top));
    let tar = saved.iter().fold(Tar::new(), |tar, (path, bytes)| file(tar, path, bytes)).build();
    let other = self::fixture();
    let loaded = archive::load(&other.store, tar.as_slice()).unwrap();
    assert_eq!(loaded, [Loaded { reference: Some(name("n:1")), digest: one }]);
    assert!(other.store.blobs().contains(&digest), "the index is kept");
}

/// The files of a tar.
fn fixture_contents(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(tar);
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if !path.ends_with('/') {
            files.push((path, bytes));
        }
    }
    files
}

/// Loading fails with this text and leaves the store as it was.
fn check_refused(bytes: &[u8], expected: &str) {
    let fixture = fixture();
    let error = archive::load(&fixture.store, bytes).unwrap_err();
    assert_eq!(chain(&error), expected);
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
    assert!(fixture.store.blobs().list().unwrap().is_empty(), "{expected}: blobs were left");
    assert!(fixture.store.images().digests().unwrap().is_empty());
}

#[test]
fn damaged_archives_are_refused_by_name() {
    check_refused(b"", "the tar is truncated: it ends before its first entry (byte 0)");
    check_refused(&[7; 2000], "not a tar: the header at byte 0 has a wrong checksum");
    check_refused(
        &Tar::new().file("etc/passwd", "root").build(),
        "not an image archive: it has neither `index.json` nor `manifest.json`",
    );
    check_refused(
        &Tar::new().file("manifest.json", "[{").build(),
        "`manifest.json` of the archive is not valid: EOF while parsing an object at line 1 column 2",
    );
    check_refused(&Tar::new().file("manifest.json", "[]").build(), "the archive has no image");
    check_refused(
        &Tar::new().file("manifest.json", r#"[{"Config":"c.json","Layers":[]}]"#).build(),
        "the archive lacks `c.json`, which manifest.json names",
    );
    let layer = Tar::new().file("f", "f").build();
    let config = docker_config(&[&layer]);
    let docker = |layer: &[u8], tags: &str| {
        let manifest = format!(r#"[{{"Config":"c.json","RepoTags":[{tags}],"Layers":["l"]}}]"#);
        let tar = file(file(Tar::new(), "l", layer), "c.json", &config);
        file(tar, "manifest.json", manifest.as_bytes()).build()
    };
    check_refused(
        &docker(b"other", ""),
        &format!(
            "layer `l` of the archive is corrupted: its tar is {}, not {}",
            Digest::sha256(b"other"),
            Digest::sha256(&layer)
        ),
    );
    check_refused(
        &docker(&layer, r#""Bad Name""#),
        "the archive names an image `Bad Name`: image name `Bad Name` has an uppercase letter: \
         repository names are lowercase",
    );
    let whole = docker(&layer, "");
    check_refused(
        &whole[..whole.len() - 1024 - 100],
        "the tar is truncated: it ends in entry `manifest.json` (byte 4508)",
    );
}

#[test]
fn a_truncated_or_altered_layout_is_refused_by_name() {
    let fixture = fixture();
    let (one, _) = two_images(&fixture);
    let saved = save(&fixture.store, &["one"], Format::Both);
    for cut in (512..saved.len() - 1024).step_by(512) {
        let other = self::fixture();
        let error = archive::load(&other.store, &saved[..cut + 7]).unwrap_err();
        assert!(chain(&error).starts_with("the tar is truncated: it ends "), "{cut}: {error}");
        assert_eq!(other.leftovers(), Vec::<String>::new());
    }
    let path = format!("blobs/sha256/{}", one.hex());
    let mut files = fixture_contents(&saved);
    for (name, bytes) in &mut files {
        if *name == path {
            bytes[10] ^= 1;
        }
    }
    let actual = Digest::sha256(&files.iter().find(|(name, _)| *name == path).unwrap().1);
    let tar = files.iter().fold(Tar::new(), |tar, (path, bytes)| file(tar, path, bytes)).build();
    check_refused(&tar, &format!("`{path}` of the archive is corrupted: its bytes are {actual}"));
    files.retain(|(name, _)| *name != path);
    let tar = files.iter().fold(Tar::new(), |tar, (path, bytes)| file(tar, path, bytes)).build();
    check_refused(&tar, &format!("the archive lacks `{path}`, which index.json names"));
}

#[test]
fn a_root_file_system_is_imported() {
    let fixture = fixture();
    let mut config = ImageConfig {
        architecture: "amd64".into(),
        os: "linux".into(),
        created: Some("2024-01-01T00:00:00Z".into()),
        ..ImageConfig::default()
    };
    config.config.cmd = Some(vec!["sh".into()]);
    let rootfs = Tar::new().dir("./", 0o700).file("./bin/sh", "sh").build();
    let import =
        |config| archive::import(&fixture.store, rootfs.as_slice(), config, Some(&name("r")));
    let image = import(config.clone()).unwrap();
    assert_eq!(import(config).unwrap().digest, image.digest, "importing is deterministic");
    let tree = fixture.tree(&image.chain_ids);
    assert_eq!((tree.paths(), tree.node("").mode), (vec!["bin", "bin/sh"], 0o755));
    let line = &image.history(&fixture.store)[0];
    assert_eq!((line.comment.as_str(), line.layer.is_some()), ("imported", true));

    let cut = archive::import(&fixture.store, &rootfs[..rootfs.len() - 1024], image.config, None);
    assert_eq!(
        chain(&cut.unwrap_err()),
        "cannot unpack the root file system: the tar is truncated: it ends in entry `./bin/sh` \
         (byte 1536)"
    );
    assert_eq!(fixture.leftovers(), Vec::<String>::new());
}

#[test]
fn the_cases_base_images_are_loaded() {
    let base = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/dockerfile-cases/base");
    for (file, shell) in [("busybox.tar", "bin/sh"), ("alpine.tar", "bin/sh")] {
        let Ok(rootfs) = fs_err::File::open(base.join(file)) else {
            eprintln!("SKIPPED: no {file} beside the repository");
            continue;
        };
        let fixture = fixture();
        let config = ImageConfig {
            architecture: "amd64".into(),
            os: "linux".into(),
            ..ImageConfig::default()
        };
        let image = archive::import(&fixture.store, rootfs, config, None).unwrap();
        fixture.tree(&image.chain_ids).node(shell);
    }
}
