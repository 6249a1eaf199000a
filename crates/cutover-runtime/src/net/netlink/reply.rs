//! Reading what the kernel sends: messages and their attributes. Never panics, whatever comes.

/// One message of the kernel.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Splits a datagram into its messages; stops at the first that is cut off.
    pub(super) fn split(datagram: &[u8]) -> Vec<Self> {
        let mut replies = Vec::new();
        let mut rest = datagram;
        while let Some(length) = u32_at(rest, 0).and_then(|length| usize::try_from(length).ok()) {
            let (Some(kind), Some(flags), Some(sequence)) =
                (u16_at(rest, 4), u16_at(rest, 6), u32_at(rest, 8))
            else {
                break;
            };
            let Some(body) = rest.get(16..length) else { break };
            replies.push(Self { kind, flags, sequence, body: body.to_vec() });
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        replies
    }

    /// The attributes that follow a fixed header of `header` bytes.
    pub(crate) fn attributes(&self, header: usize) -> Attributes<'_> {
        Attributes::new(self.body.get(header..).unwrap_or_default())
    }

    pub(crate) fn u32(&self, offset: usize) -> Option<u32> {
        u32_at(&self.body, offset)
    }
}

/// A list of attributes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a> {
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    pub(crate) fn nest(&self, kind: u16) -> Option<Self> {
        self.get(kind).map(Self::new)
    }

    pub(crate) fn u32(&self, kind: u16) -> Option<u32> {
        self.get(kind).and_then(|value| u32_at(value, 0))
    }

    pub(crate) fn be32(&self, kind: u16) -> Option<u32> {
        self.u32(kind).map(|value| u32::from_be_bytes(value.to_ne_bytes()))
    }

    pub(crate) fn be64(&self, kind: u16) -> Option<u64> {
        self.get(kind).and_then(|value| value.first_chunk()).map(|value| u64::from_be_bytes(*value))
    }

    /// A text up to its NUL.
    pub(crate) fn text(&self, kind: u16) -> Option<String> {
        let value = self.get(kind)?;
        let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
        Some(String::from_utf8_lossy(&value[..end]).into_owned())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let length = usize::from(u16_at(rest, 0)?);
            // the two upper bits say "nested" and "network order"
            let kind = u16_at(rest, 2)? & 0x3fff;
            let value = rest.get(4..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((kind, value))
        })
    }
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}
