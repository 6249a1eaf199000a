//! Where agent and proxy log: `ROOT/agent.log` and `ROOT/proxy.log`, rotated by size.
//!
//! Whoever starts them sends their stdout and stderr to the file, so that a panic is in it too. The
//! process itself rotates: it renames `x.log` to `x.log.1` (and that to `x.log.2`), opens a fresh
//! `x.log` and puts it in the place of its stdout and stderr. Two proxies may share one file while one
//! hands over to the other: each looks before every line whether the name still means the file it
//! has, so none writes to a file that is gone, and no line is lost.
//!
//! In the foreground, under systemd, stderr is not that file: then nothing is rotated.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fs_err as fs;
use rustix::fs::{FlockOperation, flock, fstat};

/// A file that has this many bytes is put aside.
const LIMIT: u64 = 10 << 20;
/// Files put aside that are kept.
const KEPT: u32 = 2;

/// Sends log lines to stderr, which is rotated when it is the file `path`.
#[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
pub(crate) fn init(path: &Path) {
    use tracing_subscriber::EnvFilter;
    let filter = std::env::var("CUTOVER_LOG").unwrap_or_else(|_unset| "info".to_owned());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_wrong| EnvFilter::new("info"));
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_target(false);
    // a second call (tests) changes nothing
    drop(match own_stderr(path) {
        true => match LogFile::open(path, LIMIT, Some(take_the_place_of_stderr)) {
            Ok(file) => lines.with_writer(Mutex::new(file)).try_init(),
            Err(_) => lines.with_writer(io::stderr).try_init(),
        },
        false => lines.with_writer(io::stderr).try_init(),
    });
}

/// Sends log lines to stderr as JSON, for who collects them.
#[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
pub(crate) fn init_json() {
    use tracing_subscriber::EnvFilter;
    let filter = std::env::var("CUTOVER_LOG").unwrap_or_else(|_unset| "info".to_owned());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|_wrong| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).json().flatten_event(true);
    // a second call (tests) changes nothing
    drop(lines.with_writer(io::stderr).try_init());
}

/// Whether stderr is the file `path`.
fn own_stderr(path: &Path) -> bool {
    let Ok(named) = fs::metadata(path) else { return false };
    let stderr = fstat(rustix::stdio::stderr());
    stderr.is_ok_and(|ours| (ours.st_dev, ours.st_ino) == (named.dev(), named.ino()))
}

fn take_the_place_of_stderr(file: &fs::File) -> io::Result<()> {
    rustix::stdio::dup2_stdout(file.file().as_fd())?;
    Ok(rustix::stdio::dup2_stderr(file.file().as_fd())?)
}

/// A file of lines that is put aside when it is full.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: fs::File,
    limit: u64,
    /// Told of each file that takes the place of one before.
    fresh: Option<fn(&fs::File) -> io::Result<()>>,
}

impl LogFile {
    fn open(
        path: &Path,
        limit: u64,
        fresh: Option<fn(&fs::File) -> io::Result<()>>,
    ) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, limit, fresh })
    }

    /// Whether the name still means the file at hand.
    fn is_current(&self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(named) => Ok((ours.dev(), ours.ino()) == (named.dev(), named.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        self.fresh.map_or(Ok(()), |fresh| fresh(&self.file))
    }

    fn make_room(&mut self) -> io::Result<()> {
        if !self.is_current()? {
            self.reopen()?;
        }
        if self.file.metadata()?.len() < self.limit {
            return Ok(());
        }
        // of two processes that find it full, the second finds it put aside
        flock(&self.file, FlockOperation::LockExclusive)?;
        let full = self.is_current().and_then(|current| match current {
            true => self.put_aside(),
            false => Ok(()),
        });
        flock(&self.file, FlockOperation::Unlock)?;
        full?;
        self.reopen()
    }

    fn put_aside(&self) -> io::Result<()> {
        for number in (1..KEPT).rev() {
            match fs::rename(numbered(&self.path, number), numbered(&self.path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }
}

/// One write is one line, or several whole ones.
impl Write for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        // a line in a file that is too long is better than none
        drop(self.make_room());
        self.file.write_all(lines)?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(file: &mut LogFile, line: &str) {
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn two_writers_lose_no_line_and_hold_no_file_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        // room for every line in what is kept
        let mut writers: Vec<_> =
            (0..2).map(|_| LogFile::open(&path, 400, None).unwrap()).collect();
        for number in 0..60 {
            for (index, writer) in writers.iter_mut().enumerate() {
                say(writer, &format!("{index}:{number:03}"));
            }
        }
        let all = [numbered(&path, 2), numbered(&path, 1), path.clone()];
        let all: String = all.iter().map(|path| read(path)).collect();
        for index in 0..2 {
            let wanted: Vec<String> =
                (0..60).map(|number| format!("{index}:{number:03}")).collect();
            let found: Vec<&str> =
                all.lines().filter(|line| line.starts_with(&format!("{index}:"))).collect();
            assert_eq!(found, wanted);
        }
        assert!(writers.iter().all(|writer| writer.is_current().unwrap()));
        assert!(!read(&numbered(&path, 1)).is_empty());
    }

    #[test]
    fn the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut file = LogFile::open(&path, 5, None).unwrap();
        for number in 0..10 {
            say(&mut file, &format!("line {number}"));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        assert_eq!(read(&numbered(&path, 2)), "line 7\n");
        assert_eq!(read(&path), "line 9\n");
    }

    #[test]
    fn a_file_that_somebody_took_away_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut file = LogFile::open(&path, 100, None).unwrap();
        say(&mut file, "one");
        fs::remove_file(&path).unwrap();
        say(&mut file, "two");
        assert_eq!(read(&path), "two\n");
    }
}
