//! [`Mask`]: secrets of a step in what it writes, as `***`.
//!
//! A program that prints what it was trusted with is common (`set -x`, an error message with an
//! address). What a secret says is hidden where it stands as it is; a program that means to tell it
//! can always write it otherwise.

use crate::{StepMount, StepSource, Stream};

/// Shorter ones are words like `yes`, and hiding them would spoil everything.
const SHORTEST: usize = 6;
const HIDDEN: &[u8] = b"***";

#[derive(Debug, Default)]
pub(super) struct Mask {
    /// Longest first.
    words: Vec<Vec<u8>>,
    /// The end of each stream that may be the beginning of a word.
    held: [Vec<u8>; 2],
}

impl Mask {
    /// Hides the secrets among `mounts`, whole and each of their lines, and the values of `env`.
    pub(super) fn new(mounts: &[StepMount], env: &[String]) -> Self {
        let contents = mounts.iter().filter_map(|mount| match &mount.source {
            StepSource::Secret { content, .. } => Some(content.0.as_slice()),
            _ => None,
        });
        let values = env.iter().filter(|entry| !entry.starts_with("SSH_AUTH_SOCK="));
        let values = values.filter_map(|entry| Some(entry.split_once('=')?.1.as_bytes()));
        let mut words = Vec::new();
        for content in contents.chain(values) {
            words.push(content.trim_ascii());
            words.extend(content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii));
        }
        words.retain(|word| word.len() >= SHORTEST);
        words.sort_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        words.dedup();
        Self { words: words.into_iter().map(<[u8]>::to_vec).collect(), held: Default::default() }
    }

    /// What can be shown of `bytes` and of what was held back before. `last`: nothing more comes.
    pub(super) fn pass(&mut self, stream: Stream, bytes: &[u8], last: bool) -> Vec<u8> {
        let held = &mut self.held[usize::from(stream == Stream::Stderr)];
        let all = [std::mem::take(held).as_slice(), bytes].concat();
        if self.words.is_empty() {
            return all;
        }
        let (mut shown, mut at) = (Vec::with_capacity(all.len()), 0);
        while let Some(rest) = all.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some(word) = self.words.iter().find(|word| rest.starts_with(word)) {
                shown.extend_from_slice(HIDDEN);
                at += word.len();
            } else if !last && self.words.iter().any(|word| word.starts_with(rest)) {
                *held = rest.to_vec();
                break;
            } else {
                shown.push(rest[0]);
                at += 1;
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn mask(secret: &str) -> Mask {
        let content = Secret(secret.as_bytes().to_vec());
        let source = StepSource::Secret { content, mode: 0o400, uid: 0, gid: 0 };
        let mount = StepMount { target: "/run/secrets/x".to_owned(), source };
        Mask::new(&[mount], &["TOKEN=from-env".to_owned(), "SSH_AUTH_SOCK=/a/socket".to_owned()])
    }

    #[test]
    fn secrets_are_hidden_wherever_output_is_cut() {
        let text = b"+ login hunter-2-hunter from-env\nhunter- /a/socket hunte";
        for cut in 0..text.len() {
            let mut mask = mask("hunter-2-hunter\n");
            let mut shown = mask.pass(Stream::Stdout, &text[..cut], false);
            // The other stream is another text.
            shown.extend(mask.pass(Stream::Stderr, b"", false));
            shown.extend(mask.pass(Stream::Stdout, &text[cut..], false));
            shown.extend(mask.pass(Stream::Stdout, b"", true));
            let shown = String::from_utf8(shown).unwrap();
            assert_eq!(shown, "+ login *** ***\nhunter- /a/socket hunte", "cut at {cut}");
        }
    }

    #[test]
    fn lines_are_hidden_and_short_words_are_not() {
        let mut mask = mask("-----BEGIN\nabcdefgh\nyes\n");
        let shown = mask.pass(Stream::Stderr, b"yes: abcdefgh abcdefg", true);
        assert_eq!(shown, b"yes: *** abcdefg");
    }
}
