//! What an agent remembers between starts: `ROOT/agent.json`.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::failure::{Context, Failure, Kind, Outcome};
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
    read(&bytes, &path(paths))
}

fn read(bytes: &[u8], path: &Path) -> Outcome<Vec<SocketAddr>> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let reading = || format!("read `{}`", path.display());
    // an older cutover did not sync it
    let again = "write it anew with `cutover agent --listen IP:PORT`";
    let versioned: Versioned = serde_json::from_slice(bytes)
        .or_fail(Kind::Config, reading())
        .map_err(|failure| failure.hint(again))?;
    if versioned.version > VERSION {
        let (found, path) = (versioned.version, path.display());
        let text = format!("`{path}` has format {found}, this version knows up to {VERSION}");
        return Err(Failure::msg(Kind::Config, text).hint("use the newer cutover that wrote it"));
    }
    let settings: Settings = serde_json::from_slice(bytes)
        .or_fail(Kind::Config, reading())
        .map_err(|failure| failure.hint(again))?;
    Ok(settings.listen)
}

pub(crate) fn save(paths: &Paths, listen: &[SocketAddr]) -> Outcome {
    let settings = Settings { version: VERSION, listen: listen.to_vec() };
    Ok(durable::replace(&path(paths), &serde_json::to_vec_pretty(&settings)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let found = match read(text.as_bytes(), Path::new("/r/agent.json")) {
            Ok(listen) => format!("{listen:?}"),
            Err(failure) => failure.to_string(),
        };
        assert!(found.contains(expected), "{text}: {found}");
    }

    #[test]
    fn a_file_is_read_or_refused_with_a_way_out() {
        check(r#"{"version":1,"listen":["127.0.0.1:80"]}"#, "[127.0.0.1:80]");
        check(r#"{"version":2,"listen":"everywhere"}"#, "format 2, this version knows up to 1");
        check("", "cutover agent --listen");
        check(r#"{"version":1}"#, "`/r/agent.json`");
    }

    #[test]
    fn is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path());
        assert_eq!(load(&paths).unwrap(), [SocketAddr::from(([0, 0, 0, 0], 80))]);
        let listen = [SocketAddr::from(([127, 0, 0, 1], 8080))];
        save(&paths, &listen).unwrap();
        assert_eq!(load(&paths).unwrap(), listen);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left aside");
    }
}
