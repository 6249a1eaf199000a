//! Names, ids, removal and collection.

use std::collections::BTreeSet;

use cutover_core::{Digest, Reference};
use cutover_store::{
    Collected, GcError, Image, InUse, IoError, Keep, Removal, RemoveError, RemoveOptions, Store,
};

use crate::support::{Tar, chain, fixture, image};

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn nothing() -> Result<Keep, IoError> {
    Ok(Keep::default())
}

fn remove(store: &Store, text: &str, force: bool) -> Result<Removal, RemoveError> {
    let in_use = |_: &Digest| None;
    store.images().remove(text, &RemoveOptions { force, in_use: &in_use, keep: &nothing })
}

fn sample(store: &Store, cmd: &str, names: &[&str]) -> Image {
    let layer = Tar::new().file("f", cmd).build();
    let image = image(store, &[&layer], cmd);
    for text in names {
        store.images().tag(&name(text), &image.digest).unwrap();
    }
    image
}

#[test]
fn resolves_names_digests_and_prefixes() {
    let fixture = fixture();
    let images = fixture.store.images();
    let image = sample(&fixture.store, "a", &["debian:12", "reg.test:5000/a/b"]);
    let (digest, config) = (image.digest.hex(), image.config_digest.hex());
    for text in [
        "debian:12",
        "docker.io/library/debian:12",
        "reg.test:5000/a/b:latest",
        image.digest.as_str(),
        image.config_digest.as_str(),
        digest,
        &digest[..12],
        &config[..7],
        &format!("sha256:{}", &digest[..9]),
        &format!("debian@{}", image.digest),
    ] {
        let found = images.resolve(text).unwrap().unwrap_or_else(|| panic!("{text} not found"));
        assert_eq!(found.digest, image.digest, "{text}");
    }
    for text in ["debian", "debian:11", "nothere", "zz", "", "sha256:", "UPPER", "sha256:00"] {
        assert!(images.resolve(text).unwrap().is_none(), "{text}");
    }
}

#[test]
fn a_name_wins_over_a_prefix_and_an_ambiguous_prefix_is_an_error() {
    let fixture = fixture();
    let images = fixture.store.images();
    // Enough images that two share a first digit.
    let all: Vec<_> = (0..17).map(|n| sample(&fixture.store, &n.to_string(), &[])).collect();
    let shared = (all.iter().map(|image| &image.digest.hex()[..1]))
        .find(|first| all.iter().filter(|i| i.digest.hex().starts_with(first)).count() > 1)
        .unwrap();
    let error = images.resolve(shared).unwrap_err().to_string();
    assert!(error.starts_with(&format!("`{shared}` is ambiguous: it begins the digests of ")));
    images.tag(&name(&format!("{shared}:latest")), &all[3].digest).unwrap();
    assert_eq!(images.resolve(shared).unwrap().unwrap().digest, all[3].digest);
}

#[test]
fn a_tag_moves_and_leaves_a_dangling_image() {
    let fixture = fixture();
    let images = fixture.store.images();
    let first = sample(&fixture.store, "1", &["app"]);
    let second = sample(&fixture.store, "2", &["app"]);
    let (records, errors) = images.list().unwrap();
    assert!(errors.is_empty());
    let tags = |digest: &Digest| {
        records.iter().find(|record| record.image.digest == *digest).unwrap().tags.clone()
    };
    assert_eq!((tags(&first.digest), tags(&second.digest)), (vec![], vec![name("app")]));
    let missing = images.tag(&name("x"), &Digest::sha256(b"x")).unwrap_err();
    assert_eq!(missing.to_string(), format!("image {} is not in the store", Digest::sha256(b"x")));
    assert!(images.untag(&name("app")).unwrap());
    assert!(!images.untag(&name("app")).unwrap());
}

#[test]
fn an_image_must_have_its_layers() {
    let fixture = fixture();
    let whole = sample(&fixture.store, "a", &[]);
    let config = fixture.store.blobs().read_bounded(&whole.config_digest, 1 << 20).unwrap();
    let other = self::fixture();
    let error = other.store.images().put(&whole.manifest_bytes, &config, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "image {} lacks its layer {}: neither blob nor snapshot is in the store",
            whole.digest, whole.manifest.layers[0].digest
        )
    );
}

#[test]
fn removing_names_as_docker_does() {
    let fixture = fixture();
    let image = sample(&fixture.store, "a", &["a:1", "a:2", "b:1"]);
    let untagged = |names: &[&str]| Removal {
        untagged: names.iter().map(|text| name(text)).collect(),
        deleted: vec![],
    };
    let error = remove(&fixture.store, image.digest.short(), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "image {} has several names (a:1, a:2, b:1): remove them one by one, or use force",
            image.digest.short()
        )
    );
    assert_eq!(remove(&fixture.store, "a:1", false).unwrap(), untagged(&["a:1"]));
    let by_digest = name("a").at(image.digest.clone());
    fixture.store.images().tag(&by_digest, &image.digest).unwrap();
    // The name by digest goes with the repository's last tag.
    let removal = remove(&fixture.store, "a:2", false).unwrap();
    assert_eq!(removal.untagged, [name("a:2"), by_digest]);
    assert!(removal.deleted.is_empty());
    let removal = remove(&fixture.store, "b:1", false).unwrap();
    assert_eq!(removal, Removal { untagged: vec![name("b:1")], deleted: vec![image.digest] });
    assert!(fixture.store.blobs().list().unwrap().is_empty(), "the files are gone");
    let error = remove(&fixture.store, "b:1", false).unwrap_err();
    assert_eq!(error.to_string(), "no such image: `b:1`");
}

#[test]
fn force_removes_all_names_but_never_what_runs() {
    let fixture = fixture();
    let image = sample(&fixture.store, "a", &["a:1", "b:1"]);
    let id = image.digest.short();
    let attempt = |running, force| {
        let in_use = |_: &Digest| Some(InUse { container: "web".into(), running });
        let options = RemoveOptions { force, in_use: &in_use, keep: &nothing };
        fixture.store.images().remove(id, &options).map_err(|error| error.to_string())
    };
    assert_eq!(attempt(true, true), Err(format!("image {id} is used by container `web`")));
    attempt(false, false).unwrap_err();
    let removal = attempt(false, true).unwrap();
    assert_eq!(removal.untagged, [name("a:1"), name("b:1")]);
    assert_eq!(removal.deleted, [image.digest]);
}

#[test]
fn collection_spares_what_is_needed() {
    let fixture = fixture();
    let store = &fixture.store;
    let image = sample(store, "a", &["a"]);
    store.snapshots().ensure(&image, &mut |_| {}).unwrap();
    let garbage = store.blobs().put(b"garbage").unwrap();
    let wanted = store.blobs().put(b"wanted").unwrap();
    let draft = |text: &str| {
        let draft = store.snapshots().draft(&image.chain_ids).unwrap();
        fs_err::write(draft.upper.join("f"), text).unwrap();
        draft.commit("").unwrap().chain_id
    };
    let (cached, unused) = (draft("cached"), draft("unused"));
    fs_err::write(store.root().join("tmp/blob-left-by-a-killed-program"), "x").unwrap();
    fs_err::create_dir_all(store.root().join("tmp/layer-left/fs/a/b")).unwrap();
    let keep = || {
        Ok(Keep {
            images: BTreeSet::new(),
            chains: [cached.clone()].into(),
            blobs: [wanted.clone()].into(),
        })
    };
    let lease = store.lease().unwrap();
    assert!(matches!(store.gc(&keep), Err(GcError::Busy)));
    drop(lease);
    let Collected { blobs, snapshots, temporary, .. } = store.gc(&keep).unwrap();
    assert_eq!((blobs, snapshots, temporary), (1, 1, 2));
    assert!(store.blobs().contains(&wanted) && !store.blobs().contains(&garbage));
    assert!(store.snapshots().contains(&cached) && !store.snapshots().contains(&unused));
    assert!(store.snapshots().lowers(&image).is_some());
    assert_eq!(store.gc(&keep).unwrap(), Collected::default(), "nothing is left to collect");

    // A container's image that was removed by force keeps its layers as long as it is told of.
    let digest = image.digest.clone();
    let container = || Ok(Keep { images: [digest.clone()].into(), ..Keep::default() });
    let in_use = |_: &Digest| Some(InUse { container: "c".into(), running: false });
    let options = RemoveOptions { force: true, in_use: &in_use, keep: &container };
    store.images().remove("a", &options).unwrap();
    assert!(store.snapshots().lowers(&image).is_some());
    store.gc(&nothing).unwrap();
    assert!(store.snapshots().lowers(&image).is_none());
    assert!(store.blobs().list().unwrap().is_empty());
}

#[test]
fn a_damaged_image_stops_the_collection_and_can_be_removed() {
    let fixture = fixture();
    let store = &fixture.store;
    let image = sample(store, "a", &["a"]);
    fs_err::write(store.blobs().path(&image.config_digest), "damage").unwrap();
    let error = chain(&store.gc(&nothing).unwrap_err());
    assert!(error.starts_with(&format!("blob {} is corrupted", image.config_digest)), "{error}");
    let (records, errors) = store.images().list().unwrap();
    assert_eq!((records.len(), errors.len()), (0, 1));
    remove(store, "a", false).unwrap();
    assert!(store.blobs().list().unwrap().is_empty());
}

#[test]
fn history_skips_instructions_without_a_layer() {
    let fixture = fixture();
    let mut image = sample(&fixture.store, "a", &[]);
    let entry = |by: &str, empty| cutover_core::oci::History {
        created_by: Some(by.into()),
        empty_layer: empty,
        ..Default::default()
    };
    image.config.history =
        vec![entry("ENV", Some(true)), entry("COPY", None), entry("CMD", Some(true))];
    let lines = image.history(&fixture.store);
    let shown: Vec<_> =
        lines.iter().map(|line| (line.created_by.as_str(), line.layer.is_some())).collect();
    assert_eq!(shown, [("CMD", false), ("COPY", true), ("ENV", false)]);
    image.config.history.clear();
    assert_eq!(image.history(&fixture.store).len(), 1, "without history, a line per layer");
}

#[test]
fn what_somebody_works_on_is_not_forgotten() {
    let fixture = fixture();
    let images = fixture.store.images();
    let (named, dangling) = (sample(&fixture.store, "a", &["a"]), sample(&fixture.store, "b", &[]));
    let lease = fixture.store.lease().unwrap();
    assert_eq!(images.forget_dangling(&BTreeSet::new()).unwrap(), []);
    drop(lease);
    let used = BTreeSet::from([dangling.digest.clone()]);
    assert_eq!(images.forget_dangling(&used).unwrap(), []);
    assert_eq!(images.forget_dangling(&BTreeSet::new()).unwrap(), [dangling.digest]);
    assert_eq!(images.digests().unwrap(), [named.digest]);
}
