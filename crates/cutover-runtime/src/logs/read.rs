//! [`Reader`]: entries from the oldest file on, across rotations, to the end that is there now.

use std::collections::VecDeque;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::files::{self, Part};
use super::{LogOptions, tail};

/// Reads a log. `Reader::next` gives `None` at the present end; asked again later, it goes on with what
/// was written since, following the files as they are rotated.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    options: LogOptions,
    /// The file being read, then newer ones.
    parts: VecDeque<Part>,
    /// Bytes read and not yet used, from `used` on.
    buffer: Vec<u8>,
    used: usize,
}

const CHUNK: usize = 64 << 10;

impl Reader {
    /// Opens the log in `dir` at the place where `options` begins.
    pub fn open(dir: &Path, options: &LogOptions) -> io::Result<Self> {
        let mut parts: VecDeque<Part> = VecDeque::new();
        let mut wanted = options.tail;
        for mut part in files::newest_first(dir, None)? {
            if let Some(lines) = &mut wanted {
                let (offset, found) = tail::offset_of_last(&part.file, *lines)?;
                part.file.seek(SeekFrom::Start(offset))?;
                *lines -= found;
            }
            parts.push_front(part);
            if wanted == Some(0) {
                break;
            }
        }
        let (dir, options) = (dir.to_owned(), options.clone());
        Ok(Self { dir, options, parts, buffer: Vec::new(), used: 0 })
    }

    /// The next wanted entry; `None` at the present end.
    #[expect(clippy::should_implement_trait, reason = "it fails, and goes on after `None`")]
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        while let Some(line) = self.line()? {
            // A line that is no entry was cut short by a crash: skipped.
            if let Some(entry) = Entry::parse(&line).filter(|entry| self.options.wants(entry)) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = self.used;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|&byte| byte == b'\n') {
                let line = self.buffer[self.used..searched + at].to_vec();
                self.used = searched + at + 1;
                return Ok(Some(line));
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            searched = self.buffer.len();
            if self.fill()? == 0 && !self.advance()? {
                return Ok(None);
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let Some(part) = self.parts.front_mut() else { return Ok(0) };
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK, 0);
        let read = part.file.read(&mut self.buffer[before..]);
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        read
    }

    /// Goes to the next file if the present one will not grow any more.
    fn advance(&mut self) -> io::Result<bool> {
        if self.parts.len() < 2 {
            let known = self.parts.front().map(|part| part.inode);
            for part in files::newest_first(&self.dir, known)?.into_iter().rev() {
                self.parts.push_back(part);
            }
        }
        if self.parts.len() < 2 {
            return Ok(self.parts.len() == 1 && self.buffer.is_empty() && self.fill()? > 0);
        }
        // It was renamed after our last read at the earliest: what it got before that is read now.
        if self.fill()? == 0 {
            self.parts.pop_front();
            self.buffer.clear();
        }
        Ok(true)
    }
}
