//! Taking a container off the disk. The caller holds its lock.

use std::io;

use fs_err as fs;

use super::paths::Places;
use super::{ContainerConfig, MountKind, Result};
use crate::volume::Volumes;

/// Directories that are being removed have names beginning with this, so that a removal that was
/// interrupted is finished later and never shows half a container.
pub(crate) const REMOVING: &str = ".removing-";

/// Frees the name, if it is still this container's.
pub(crate) fn release_name(places: &Places, config: &ContainerConfig) {
    let link = places.names().join(&config.name);
    let holder = fs::read_link(&link);
    if holder.is_ok_and(|holder| holder.as_os_str() == config.id.as_str()) {
        // Gone already is as good.
        fs::remove_file(link).unwrap_or_default();
    }
}

/// Removes everything of a container but what is on the network.
pub(crate) fn remove_directory(
    places: &Places,
    config: &ContainerConfig,
    volumes: bool,
) -> Result<()> {
    release_name(places, config);
    let paths = places.container(&config.id);
    let aside = places.containers().join(format!("{REMOVING}{}", config.id));
    match fs::rename(&paths.dir, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    remove_tree(&paths.run)?;
    remove_tree(&aside)?;
    if volumes {
        let all = Volumes::new(&places.root);
        for mount in &config.mounts {
            if let MountKind::Volume { name: Some(name), anonymous: true, .. } = &mount.kind {
                all.remove_if_unused(name)?;
            }
        }
    }
    Ok(())
}

fn remove_tree(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
