//! Building one message: a header, then attributes, nested at will.

use super::flags;

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;

/// One request. Sequence number and length are filled in when it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// `body` is the fixed header of the family, e.g. an `ifinfomsg`.
    pub(crate) fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | flags::REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        let mut message = Self { bytes };
        message.raw(body);
        message
    }

    /// Bytes that are no attribute: a fixed header inside of a nest.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.align();
        self
    }

    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value);
        self.close(start);
        self
    }

    /// A text with its terminating NUL.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.close(start);
        self
    }

    pub(crate) fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.bytes(kind, &[value])
    }

    pub(crate) fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in network order, as netfilter wants them.
    pub(crate) fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.open(kind | NESTED);
        inside(self);
        self.close(start);
        self
    }

    /// The finished message.
    pub(super) fn seal(mut self, sequence: u32, extra_flags: u16) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | extra_flags;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        debug_assert!(self.bytes.len() >= HEADER, "a message starts with its header");
        self.bytes
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let length = self.bytes.len() - start;
        // 64 KiB is the format's limit; lists that may grow past it are split by their makers
        let length = u16::try_from(length).expect("an attribute is shorter than 64 KiB");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::netlink::Attributes;

    #[test]
    fn nests_and_aligns() {
        let mut message = Message::new(16, flags::ACK, &[1, 2, 3, 4]);
        message.text(3, "abcd").nest(18, |nest| {
            nest.u8(1, 7).be32(2, 0x0102_0304);
        });
        let bytes = message.seal(9, 0);
        assert_eq!(bytes.len(), 16 + 4 + 12 + (4 + 8 + 8));
        assert_eq!(bytes[0..4], 52u32.to_ne_bytes());
        assert_eq!(bytes[6..8], (flags::ACK | flags::REQUEST).to_ne_bytes());
        let attributes = Attributes::new(&bytes[20..]);
        assert_eq!(attributes.text(3).as_deref(), Some("abcd"));
        let nest = attributes.nest(18).unwrap();
        assert_eq!(nest.get(1), Some(&[7u8][..]));
        assert_eq!(nest.be32(2), Some(0x0102_0304));
        assert_eq!(nest.get(3), None);
    }

    #[test]
    fn truncated_attributes_end_the_list() {
        let mut message = Message::new(16, 0, &[]);
        message.u32(1, 5).u32(2, 6);
        let bytes = message.seal(1, 0);
        for end in 16..bytes.len() {
            let attributes = Attributes::new(&bytes[16..end]);
            assert_eq!(attributes.get(2), None, "{end}");
        }
    }
}
