//! Writing a small file so that it is there, whole, after a power loss.

use std::io::{self, Write};
use std::path::Path;

use fs_err as fs;

/// Makes `bytes` the contents of `path`: temp → fsync → rename → fsync of the folder. A reader, and
/// a machine that lost its power, sees the old file or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir)?;
    let mut temp = path.as_os_str().to_owned();
    temp.push(".tmp");
    let mut file = fs::File::create(Path::new(&temp))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(Path::new(&temp), path)?;
    fs::File::open(dir)?.sync_all()
}
