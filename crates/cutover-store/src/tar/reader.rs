//! [`Reader`]: the entries of a tar stream, one after another.

use std::io::{self, BufRead};

use super::header::{BLOCK, Block, Header};
use super::pax::Pax;
use super::{Entry, Kind, Limits, Segment, TarError, shown, sparse};

/// Reads entries from `source`. Between two calls of [`Reader::next`] the entry's data can be
/// taken with [`Reader::data`]; what is left of it is skipped.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    limits: Limits,
    offset: u64,
    /// Stored bytes of the current entry that were not read yet.
    left: u64,
    padding: u64,
    entries: u64,
    /// The current entry, for messages.
    current: Vec<u8>,
    ended: bool,
}

/// What precedes an entry and changes it.
#[derive(Debug, Default)]
struct Extensions {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    pub fn new(source: R, limits: Limits) -> Self {
        Self {
            source,
            limits,
            offset: 0,
            left: 0,
            padding: 0,
            entries: 0,
            current: Vec::new(),
            ended: false,
        }
    }

    /// An error unless the end mark was seen. A layer's digest says more than the mark; where
    /// there is no digest, its absence is how a cut at the end of an entry shows.
    pub fn require_end(&self) -> Result<(), TarError> {
        if self.ended { Ok(()) } else { Err(self.truncated()) }
    }

    /// The next entry; `None` at the end. Its data is what [`Reader::data`] then gives.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend its data")]
    pub fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(block) = self.header_block()? else { return Ok(None) };
            let header = Header::parse(&block, self.offset - BLOCK as u64)?;
            match header.flag() {
                b'x' => {
                    let bytes = self.extension(&header)?;
                    extensions.pax = Pax::parse(&bytes).map_err(|record| {
                        let path = shown(&header.path());
                        TarError::Pax { path, record }
                    })?;
                }
                b'L' => extensions.long_name = Some(self.long_text(&header)?),
                b'K' => extensions.long_link = Some(self.long_text(&header)?),
                // As all of Go's readers do: global headers carry a commit id, not attributes;
                // a volume label is no file.
                b'g' | b'V' => {
                    self.left = header.size()?;
                    self.padding = padding(self.left);
                }
                _ => {
                    self.entries += 1;
                    if self.entries > self.limits.entries {
                        return Err(TarError::Entries(self.limits.entries));
                    }
                    return self.entry(&header, extensions).map(Some);
                }
            }
        }
    }

    fn entry(&mut self, header: &Header<'_>, extensions: Extensions) -> Result<Entry, TarError> {
        let Extensions { mut pax, long_name, long_link } = extensions;
        let pax_path = pax.sparse.name.take().or(pax.path.take());
        let path = pax_path.or(long_name).unwrap_or_else(|| header.path());
        let link = pax.link.take().or(long_link).unwrap_or_else(|| header.link());
        self.current.clone_from(&path);
        self.check_text(&path)?;
        self.check_text(&link)?;
        let flag = header.flag();
        let Some(kind) = header.kind(&path) else {
            return Err(TarError::Type { path: shown(&path), flag: char::from(flag) });
        };
        // Only files carry data; other kinds' sizes are noise (and Go ignores them).
        let stored = match kind {
            Kind::File => pax.size.map_or_else(|| header.size(), Ok)?,
            _ => 0,
        };
        (self.left, self.padding) = (stored, padding(stored));
        let (sparse, size) = self.sparse(header, &pax, stored)?;
        let id = |id: u64, field| match u32::try_from(id) {
            // chown reads the last one as "leave it"
            Ok(id) if id != u32::MAX => Ok(id),
            _ => Err(TarError::Limit { path: shown(&path), limit: format!("{field} id {id}") }),
        };
        Ok(Entry {
            kind,
            link,
            mode: header.mode()?,
            uid: id(pax.uid.map_or_else(|| header.uid(), Ok)?, "user")?,
            gid: id(pax.gid.map_or_else(|| header.gid(), Ok)?, "group")?,
            mtime: pax.mtime.map_or_else(|| header.mtime(), Ok)?,
            size,
            device: header.device()?,
            xattrs: pax.xattrs.into_iter().collect(),
            sparse,
            path,
        })
    }

    fn sparse(
        &mut self,
        header: &Header<'_>,
        pax: &Pax,
        stored: u64,
    ) -> Result<(Option<Vec<Segment>>, u64), TarError> {
        let limits = self.limits;
        let bad = |this: &Self| TarError::Sparse { path: shown(&this.current) };
        let (segments, size) = if header.flag() == b'S' && header.is_gnu() {
            let (mut segments, mut more, size) = header.gnu_sparse()?;
            while more {
                let block = self.block()?;
                let (next, another) = sparse::from_block(&block).ok_or_else(|| bad(self))?;
                segments.extend(next);
                more = another && segments.len() <= limits.segments;
            }
            (segments, size)
        } else if pax.sparse.in_data {
            let size = pax.sparse.size.ok_or_else(|| bad(self))?;
            let map = sparse::from_data(&limits, || self.block())?;
            let (segments, blocks) = map.ok_or_else(|| bad(self))?;
            let used = blocks * BLOCK as u64;
            self.left = stored.checked_sub(used).ok_or_else(|| bad(self))?;
            (segments, size)
        } else if let Some(size) = pax.sparse.size {
            (sparse::from_records(&pax.sparse).ok_or_else(|| bad(self))?, size)
        } else {
            return Ok((None, stored));
        };
        if !sparse::is_valid(&segments, size, self.left) {
            return Err(bad(self));
        }
        Ok((Some(segments), size))
    }

    fn check_text(&self, text: &[u8]) -> Result<(), TarError> {
        if text.len() <= self.limits.path {
            return Ok(());
        }
        let limit = format!("a path of {} bytes, the most is {}", text.len(), self.limits.path);
        Err(TarError::Limit { path: shown(&self.current), limit })
    }

    /// The next piece of the current entry's data, as long as the source has it ready; empty at
    /// the end. Call [`Reader::consume`] with what was used.
    pub fn data(&mut self) -> Result<&[u8], TarError> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let (offset, left) = (self.offset, self.left);
        if self.at_eof()? {
            return Err(self.truncated());
        }
        let bytes = self.source.fill_buf().map_err(|source| TarError::Read { offset, source })?;
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        Ok(&bytes[..most])
    }

    pub fn consume(&mut self, count: usize) {
        self.source.consume(count);
        self.left -= count as u64;
        self.offset += count as u64;
    }

    /// Skips what is left of the current entry.
    fn skip(&mut self) -> Result<(), TarError> {
        self.left += std::mem::take(&mut self.padding);
        while self.left > 0 {
            let count = self.data()?.len();
            self.consume(count);
        }
        Ok(())
    }

    fn truncated(&self) -> TarError {
        let place = match self.current.as_slice() {
            [] => "before its first entry".to_owned(),
            path => format!("in entry `{}`", shown(path)),
        };
        TarError::Truncated { place, offset: self.offset }
    }

    fn extension(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarError> {
        let size = header.size()?;
        self.current = header.path();
        if size > self.limits.extension {
            let limit = format!("{size} bytes of extended header");
            return Err(TarError::Limit { path: shown(&self.current), limit });
        }
        (self.left, self.padding) = (size, padding(size));
        let mut bytes = Vec::new();
        while self.left > 0 {
            let piece = self.data()?;
            let count = piece.len();
            bytes.extend_from_slice(piece);
            self.consume(count);
        }
        Ok(bytes)
    }

    fn long_text(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarError> {
        let mut bytes = self.extension(header)?;
        if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
            bytes.truncate(end);
        }
        Ok(bytes)
    }

    /// The next header; `None` at the end mark or at the end of the stream.
    fn header_block(&mut self) -> Result<Option<Block>, TarError> {
        if self.ended || self.at_eof()? {
            return Ok(None);
        }
        let block = self.block()?;
        if block.iter().any(|&byte| byte != 0) {
            return Ok(Some(block));
        }
        self.ended = true;
        Ok(None)
    }

    fn at_eof(&mut self) -> Result<bool, TarError> {
        let offset = self.offset;
        let bytes = self.source.fill_buf().map_err(|source| TarError::Read { offset, source })?;
        Ok(bytes.is_empty())
    }

    fn block(&mut self) -> Result<Block, TarError> {
        let mut block = [0; BLOCK];
        match io::Read::read_exact(&mut self.source, &mut block) {
            Ok(()) => {
                self.offset += BLOCK as u64;
                Ok(block)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.truncated()),
            Err(source) => Err(TarError::Read { offset: self.offset, source }),
        }
    }
}

/// Bytes from the end of data of this size to the next block.
fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64).wrapping_sub(size)
}
