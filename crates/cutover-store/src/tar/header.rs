//! One 512-byte header block: where the fields are and how numbers are spelled.

use super::{Kind, Segment, TarError, Time};

pub(super) const BLOCK: usize = 512;
pub(super) type Block = [u8; BLOCK];

/// A header block's fields, before extensions.
#[derive(Debug)]
pub(super) struct Header<'a> {
    block: &'a Block,
    offset: u64,
}

impl<'a> Header<'a> {
    /// `offset` is the block's place in the archive, for messages.
    pub(super) fn parse(block: &'a Block, offset: u64) -> Result<Self, TarError> {
        let header = Self { block, offset };
        let stored = octal(&block[148..156]);
        let sum = |as_signed: bool| -> i64 {
            let value = |(at, &byte): (usize, &u8)| match at {
                148..156 => i64::from(b' '),
                _ if as_signed => i64::from(byte.cast_signed()),
                _ => i64::from(byte),
            };
            block.iter().enumerate().map(value).sum()
        };
        // Some old programs summed signed characters.
        match stored.and_then(|stored| i64::try_from(stored).ok()) {
            Some(stored) if stored == sum(false) || stored == sum(true) => Ok(header),
            _ => Err(TarError::Checksum { offset }),
        }
    }

    pub(super) fn flag(&self) -> u8 {
        self.block[156]
    }

    /// What the type flag means for an entry of this path; `None` for one that is not a file's.
    pub(super) fn kind(&self, path: &[u8]) -> Option<Kind> {
        Some(match self.flag() {
            // version 7 had no flag for a directory
            b'0' | 0 if path.ends_with(b"/") => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => return None,
        })
    }

    fn is_ustar(&self) -> bool {
        &self.block[257..263] == b"ustar\0"
    }

    pub(super) fn is_gnu(&self) -> bool {
        &self.block[257..265] == b"ustar  \0"
    }

    fn name(&self) -> &'a [u8] {
        until_nul(&self.block[..100])
    }

    pub(super) fn path(&self) -> Vec<u8> {
        let prefix = if self.is_ustar() { until_nul(&self.block[345..500]) } else { &[] };
        if prefix.is_empty() {
            return self.name().to_vec();
        }
        [prefix, b"/", self.name()].concat()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(&self.block[157..257]).to_vec()
    }

    /// Only the permission bits: docker before 25 and buildah write the file type here, too.
    pub(super) fn mode(&self) -> Result<u32, TarError> {
        let mode = self.number(100..108, "mode")?;
        Ok(u32::try_from(mode & 0o7777).expect("twelve bits"))
    }

    pub(super) fn uid(&self) -> Result<u64, TarError> {
        self.number(108..116, "user id")
    }

    pub(super) fn gid(&self) -> Result<u64, TarError> {
        self.number(116..124, "group id")
    }

    pub(super) fn size(&self) -> Result<u64, TarError> {
        self.number(124..136, "size")
    }

    pub(super) fn mtime(&self) -> Result<Time, TarError> {
        let seconds = self.signed(136..148, "modification time")?;
        Ok(Time { seconds, nanoseconds: 0 })
    }

    pub(super) fn device(&self) -> Result<(u32, u32), TarError> {
        if !self.is_ustar() && !self.is_gnu() {
            return Ok((0, 0));
        }
        let field = "device number";
        let part = |range| {
            u32::try_from(self.number(range, field)?)
                .ok()
                .ok_or(TarError::Field { offset: self.offset, field })
        };
        Ok((part(329..337)?, part(337..345)?))
    }

    /// Segments of GNU's old sparse format, whether more blocks of them follow, and the real size.
    pub(super) fn gnu_sparse(&self) -> Result<(Vec<Segment>, bool, u64), TarError> {
        let size = self.number(483..495, "size")?;
        let segments = gnu_segments(&self.block[386..482]);
        let segments =
            segments.ok_or(TarError::Field { offset: self.offset, field: "sparse map" })?;
        Ok((segments, self.block[482] != 0, size))
    }

    fn number(&self, range: std::ops::Range<usize>, field: &'static str) -> Result<u64, TarError> {
        let bad = TarError::Field { offset: self.offset, field };
        u64::try_from(self.signed(range, field)?).ok().ok_or(bad)
    }

    fn signed(&self, range: std::ops::Range<usize>, field: &'static str) -> Result<i64, TarError> {
        let bytes = &self.block[range];
        let value = match bytes[0] & 0x80 {
            0 => octal(bytes).and_then(|value| i64::try_from(value).ok()),
            _ => base256(bytes),
        };
        value.ok_or(TarError::Field { offset: self.offset, field })
    }
}

/// Entries of 24 bytes; an empty one ends them.
pub(super) fn gnu_segments(bytes: &[u8]) -> Option<Vec<Segment>> {
    let mut segments = Vec::new();
    for pair in bytes.chunks_exact(24) {
        if pair[0] == 0 || pair[12] == 0 {
            break;
        }
        let number = |bytes: &[u8]| match bytes[0] & 0x80 {
            0 => octal(bytes),
            _ => base256(bytes).and_then(|value| u64::try_from(value).ok()),
        };
        segments.push(Segment { offset: number(&pair[..12])?, length: number(&pair[12..])? });
    }
    Some(segments)
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or(bytes)
}

/// Octal digits between blanks or NULs; an empty field is 0.
fn octal(bytes: &[u8]) -> Option<u64> {
    let text = until_nul(bytes).trim_ascii();
    let mut value: u64 = 0;
    for byte in text {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value = value.checked_mul(8)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// GNU's binary numbers: two's complement, the first byte's top bit set as the mark.
fn base256(bytes: &[u8]) -> Option<i64> {
    let negative = bytes[0] & 0x40 != 0;
    let mut value: i128 = if negative { -1 } else { 0 };
    for (at, &byte) in bytes.iter().enumerate() {
        let byte = match at {
            0 if negative => byte | 0x80,
            0 => byte & 0x7f,
            _ => byte,
        };
        value = (value << 8) | i128::from(byte);
    }
    i64::try_from(value).ok()
}
