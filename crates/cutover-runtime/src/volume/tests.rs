use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

fn volumes() -> (tempfile::TempDir, Volumes) {
    let dir = tempfile::tempdir().unwrap();
    let volumes = Volumes::new(dir.path());
    (dir, volumes)
}

#[test]
fn created_listed_removed() {
    let (_dir, volumes) = volumes();
    assert_eq!(volumes.list().unwrap(), []);
    let volume = Volume::named("data", Timestamp::UNIX_EPOCH);
    assert_eq!(volumes.create(&volume).unwrap(), volume);
    let again = Volume::named("data", Timestamp::from_second(9).unwrap());
    assert_eq!(volumes.create(&again).unwrap(), volume, "the first one stays");
    assert_eq!(volumes.list().unwrap(), std::slice::from_ref(&volume));
    volumes.remove("data").unwrap();
    assert_eq!(volumes.list().unwrap(), []);
    let missing = volumes.remove("data").unwrap_err().to_string();
    assert_eq!(missing, "no volume is named `data`: see `cutover volume ls`");
    assert!(volumes.create(&Volume::named("../x", Timestamp::UNIX_EPOCH)).is_err());
    assert!(matches!(volumes.get("../x"), Err(Error::VolumeNotFound(_))));
}

#[test]
fn an_empty_volume_takes_the_images_content_once() {
    let (dir, volumes) = volumes();
    let layer = |name: &str| dir.path().join(name);
    let (top, bottom) = (layer("top"), layer("bottom"));
    fs::create_dir_all(top.join("srv/data")).unwrap();
    fs::create_dir_all(bottom.join("srv/data/sub")).unwrap();
    fs::write(bottom.join("srv/data/sub/a"), "a").unwrap();
    fs::write(bottom.join("srv/data/b"), "bottom").unwrap();
    fs::write(top.join("srv/data/b"), "top").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", bottom.join("srv/data/link")).unwrap();
    // what is mounted is found through links, within the image
    std::os::unix::fs::symlink("/srv", top.join("alias")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o2751);
    fs::set_permissions(top.join("srv/data"), mode).unwrap();
    std::os::unix::fs::chown(top.join("srv/data"), Some(101), Some(102)).unwrap();

    volumes.create(&Volume::named("data", Timestamp::UNIX_EPOCH)).unwrap();
    let lowers = [top, bottom];
    volumes.fill("data", &lowers, "/alias/data").unwrap();
    let data = volumes.data("data");
    let read = |name: &str| fs::read_to_string(data.join(name)).unwrap();
    assert_eq!((read("sub/a").as_str(), read("b").as_str()), ("a", "top"));
    assert_eq!(fs::read_link(data.join("link")).unwrap(), Path::new("/etc/passwd"));
    let meta = fs::metadata(&data).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o2751, 101, 102));

    fs::write(data.join("b"), "mine").unwrap();
    volumes.fill("data", &lowers, "/srv/data").unwrap();
    assert_eq!(read("b"), "mine", "a volume with content is left alone");
}

#[test]
fn nothing_is_taken_from_where_the_image_has_nothing() {
    let (dir, volumes) = volumes();
    let layer = dir.path().join("layer");
    fs::create_dir_all(&layer).unwrap();
    fs::write(layer.join("file"), "").unwrap();
    std::os::unix::fs::symlink("/../../../../etc", layer.join("out")).unwrap();
    volumes.create(&Volume::named("data", Timestamp::UNIX_EPOCH)).unwrap();
    for target in ["/missing", "/file", "/out"] {
        volumes.fill("data", std::slice::from_ref(&layer), target).unwrap();
        assert_eq!(fs::read_dir(volumes.data("data")).unwrap().count(), 0, "{target}");
    }
}
