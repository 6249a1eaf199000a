//! "Did you mean": the known word that is at most two edits away.

/// The nearest of `known`, unless `word` is itself known.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for near in known {
        let distance = strsim::levenshtein(word, near);
        if distance == 0 {
            return None;
        }
        if distance < best.map_or(3, |(distance, _)| distance) {
            best = Some((distance, near));
        }
    }
    best.map(|(_, near)| near)
}

/// ` (did you mean `X`?)`, or nothing.
pub(super) fn question(near: Option<&str>, sign: &str) -> String {
    near.map(|near| format!(" (did you mean `{sign}{near}`?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn two_edits_are_near() {
        assert_eq!(nearest("PAHT", ["HOME", "PATH"]), Some("PATH"));
        assert_eq!(nearest("PATH", ["PATHS", "PATH"]), None);
        assert_eq!(nearest("foo", ["PATH"]), None);
    }
}
