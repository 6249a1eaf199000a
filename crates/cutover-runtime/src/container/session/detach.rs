//! [`DetachKeys`]: finds the keys that end a session in what is typed. Pure.

/// Holds back a beginning of the keys until it is clear whether it is one.
#[derive(Debug)]
pub(super) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were typed so far.
    matched: usize,
}

impl DetachKeys {
    pub(super) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// What is to be passed on, and whether the keys were typed.
    pub(super) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (typed.to_vec(), false);
        }
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            if byte != self.keys[self.matched] {
                passed.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if byte != self.keys[self.matched] {
                passed.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                return (passed, true);
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&str], passed: &str, detached: bool) {
        let mut keys = DetachKeys::new(b"pq".to_vec());
        let mut seen = Vec::new();
        let mut done = false;
        for piece in pieces {
            let (bytes, detach) = keys.filter(piece.as_bytes());
            seen.extend(bytes);
            done |= detach;
        }
        assert_eq!((String::from_utf8(seen).unwrap().as_str(), done), (passed, detached));
    }

    #[test]
    fn keys_are_found_across_reads() {
        check(&["abc"], "abc", false);
        check(&["apq"], "a", true);
        check(&["p", "q"], "", true);
        check(&["p", "x"], "px", false);
        check(&["ppq"], "p", true);
        check(&["qp"], "q", false);
    }

    #[test]
    fn without_keys_all_passes() {
        assert_eq!(DetachKeys::new(Vec::new()).filter(b"pq"), (b"pq".to_vec(), false));
    }
}
