//! What an agent remembers between starts: `ROOT/agent.json`.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::failure::{Context, Kind, Outcome};
use crate::paths::Paths;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    version: u32,
    /// Where the proxy listens.
    listen: Vec<SocketAddr>,
}

fn path(paths: &Paths) -> PathBuf {
    paths.root.join("agent.json")
}

/// Where the proxy listens: what was said last, else every address, port 80.
pub(crate) fn load(paths: &Paths) -> Outcome<Vec<SocketAddr>> {
    let bytes = match fs::read(path(paths)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(vec![SocketAddr::from(([0, 0, 0, 0], 80))]);
        }
        Err(error) => return Err(error.into()),
    };
    let settings: Settings = serde_json::from_slice(&bytes)
        .or_fail(Kind::Config, format!("read `{}`", path(paths).display()))?;
    Ok(settings.listen)
}

pub(crate) fn save(paths: &Paths, listen: &[SocketAddr]) -> Outcome {
    fs::create_dir_all(&paths.root)?;
    let settings = Settings { version: VERSION, listen: listen.to_vec() };
    let temp = path(paths).with_extension("json.tmp");
    fs::write(&temp, serde_json::to_vec_pretty(&settings)?)?;
    Ok(fs::rename(&temp, path(paths))?)
}
