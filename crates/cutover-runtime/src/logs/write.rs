//! [`Writer`]: appends entries and rotates.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use jiff::Timestamp;

use super::entry::{Stream, encode};
use super::files;
use crate::container::LogConfig;

/// The shim's end of a log. Never fails after it was opened: what cannot be written is counted,
/// and the count is the first thing that is written when there is room again.
#[derive(Debug)]
pub(crate) struct Writer {
    dir: PathBuf,
    limits: LogConfig,
    file: fs::File,
    size: u64,
    /// Encoded entries that wait for [`Writer::flush`].
    batch: Vec<u8>,
    entries: u64,
    lost: u64,
}

impl Writer {
    /// Opens the log for appending; a line that a crash cut short is ended.
    pub(crate) fn open(dir: &Path, limits: LogConfig) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let file = append(dir)?;
        let size = file.metadata()?.len();
        let mut writer = Self {
            dir: dir.to_owned(),
            limits,
            file,
            size,
            batch: Vec::new(),
            entries: 0,
            lost: 0,
        };
        if size > 0 && !ends_with_newline(dir, size)? {
            writer.put(b"\n");
        }
        Ok(writer)
    }

    /// Adds an entry to the batch.
    pub(crate) fn add(&mut self, stream: Stream, time: &str, text: &[u8]) {
        encode(&mut self.batch, stream, time, text);
        self.entries += 1;
    }

    /// Writes the batch: one system call however many lines.
    pub(crate) fn flush(&mut self, now: Timestamp) {
        if self.batch.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.rotate_for(batch.len());
        if self.lost > 0 {
            let text = format!("cutover: {} lines of output were lost here\n", self.lost);
            let mut note = Vec::new();
            encode(&mut note, Stream::Stderr, &stamp(now), text.as_bytes());
            if self.put(&note) {
                self.lost = 0;
            }
        }
        if !self.put(&batch) {
            self.lost += self.entries;
        }
        self.entries = 0;
        batch.clear();
        // A burst must not stay in the memory of a process that is meant to be small.
        batch.shrink_to(16 << 10);
        self.batch = batch;
    }

    /// All or nothing: what was written of a batch that did not fit is cut off again.
    fn put(&mut self, bytes: &[u8]) -> bool {
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.size += bytes.len() as u64;
                true
            }
            Err(_) => {
                // Nothing better is left to be done if this fails as well.
                self.file.set_len(self.size).unwrap_or_default();
                false
            }
        }
    }

    fn rotate_for(&mut self, more: usize) {
        if self.size == 0 || self.size + more as u64 <= self.limits.size {
            return;
        }
        if self.rotate().is_err() {
            // Without room for a new file the old one is emptied: the disk is what matters.
            if self.file.set_len(0).is_ok() {
                self.size = 0;
            }
        }
    }

    /// `container.log` → `.1` → `.2`…; the oldest one is replaced.
    fn rotate(&mut self) -> io::Result<()> {
        let keep = self.limits.files.max(1);
        for n in (0..keep - 1).rev() {
            match fs::rename(files::path(&self.dir, n), files::path(&self.dir, n + 1)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if keep == 1 {
            fs::remove_file(files::path(&self.dir, 0))?;
        }
        self.file = append(&self.dir)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }
}

/// The form of a time in the file: RFC 3339 with nine digits.
pub(crate) fn stamp(time: Timestamp) -> String {
    format!("{time:.9}")
}

fn append(dir: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).open(files::path(dir, 0))
}

fn ends_with_newline(dir: &Path, size: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut last = [0];
    let file = fs::File::open(files::path(dir, 0))?;
    file.file().read_exact_at(&mut last, size - 1)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_costs_lines_and_says_how_many() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), LogConfig::default()).unwrap();
        let time = Timestamp::UNIX_EPOCH;
        let write = |writer: &mut Writer, text: &str| {
            writer.add(Stream::Stdout, &stamp(time), text.as_bytes());
            writer.flush(time);
        };
        write(&mut writer, "before\n");
        let full = fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
        let disk = std::mem::replace(&mut writer.file, full);
        write(&mut writer, "lost\n");
        write(&mut writer, "lost\n");
        writer.file = disk;
        write(&mut writer, "after\n");
        let mut reader = crate::logs::Reader::open(dir.path(), &Default::default()).unwrap();
        let texts: Vec<String> =
            std::iter::from_fn(|| reader.next().unwrap()).map(|entry| entry.text).collect();
        let note = "cutover: 2 lines of output were lost here\n";
        assert_eq!(texts, ["before\n", note, "after\n"]);
    }
}
