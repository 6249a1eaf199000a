//! The agent's own record of which instances serve: `ROOT/apps/APP.json`.
//!
//! The proxy knows addresses and the ledger knows steps; this file says which instances the last
//! acknowledged switch named, routed or not. It is written (temp, fsync, rename) right after the
//! proxy's acknowledgement; a crash in between is mended when the deployment's switch, which is
//! idempotent, is performed again.

use std::io;
use std::path::{Path, PathBuf};

use cutover_release::facts::Routes;
use fs_err as fs;
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    routes: Routes,
}

fn path(root: &Path, app: &str) -> PathBuf {
    root.join("apps").join(format!("{app}.json"))
}

/// What the last switch of `app` named; empty when there was none.
pub(crate) fn load(root: &Path, app: &str) -> io::Result<Routes> {
    let path = path(root, app);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Routes::default()),
        Err(error) => return Err(error),
    };
    let damaged =
        |why: String| io::Error::other(format!("`{}` cannot be read: {why}", path.display()));
    let document: Document =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    match document.version > VERSION {
        true => Err(damaged("it was written by a newer cutover".to_owned())),
        false => Ok(document.routes),
    }
}

pub(crate) fn save(root: &Path, app: &str, routes: &Routes) -> io::Result<()> {
    let document = Document { version: VERSION, routes: routes.clone() };
    crate::durable::replace(&path(root, app), &serde_json::to_vec(&document)?)
}

/// Every app that ever switched.
pub(crate) fn apps(root: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(root.join("apps")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut apps = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        apps.extend(name.strip_suffix(".json").map(str::to_owned));
    }
    apps.sort();
    Ok(apps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_and_empty_before() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(load(root.path(), "shop").unwrap(), Routes::default());
        let routes = Routes { generation: 7, ..Routes::default() };
        save(root.path(), "shop", &routes).unwrap();
        assert_eq!(load(root.path(), "shop").unwrap(), routes);
        assert_eq!(apps(root.path()).unwrap(), ["shop"]);
    }

    #[test]
    fn a_damaged_file_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("apps")).unwrap();
        fs::write(root.path().join("apps/shop.json"), b"{").unwrap();
        let error = load(root.path(), "shop").unwrap_err().to_string();
        assert!(error.contains("apps/shop.json"), "{error}");
    }
}
