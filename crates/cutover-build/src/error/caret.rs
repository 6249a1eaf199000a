//! Where in a line the problem is: problems name in backquotes what they are about.

/// The text under the line and its carets, when `line` has what `problem` names.
pub(super) fn under(line: &str, problem: &str) -> Option<String> {
    let named = problem.split('`').nth(1).filter(|named| !named.is_empty())?;
    // Keywords are named in upper case, however they are written.
    let (lower, named) = (line.to_ascii_lowercase(), named.to_ascii_lowercase());
    let is_word = |ch: Option<char>| ch.is_some_and(|ch| ch.is_alphanumeric() || ch == '_');
    let whole = |at: &usize| {
        let (before, after) = (&lower[..*at], &lower[at + named.len()..]);
        let cuts =
            |outside: Option<char>, inside: Option<char>| is_word(outside) && is_word(inside);
        !cuts(before.chars().next_back(), named.chars().next())
            && !cuts(after.chars().next(), named.chars().next_back())
    };
    let at = lower.match_indices(&named).map(|(at, _)| at).find(whole)?;
    // A tab stays one, so that the carets stand below what they mean.
    let blank = |ch: char| if ch == '\t' { '\t' } else { ' ' };
    let blanks: String = line[..at].chars().map(blank).collect();
    Some(blanks + &"^".repeat(named.chars().count()))
}

#[cfg(test)]
mod tests {
    use super::under;

    #[test]
    fn the_named_word_is_marked() {
        let check = |line, problem, expected: Option<&str>| {
            assert_eq!(under(line, problem).as_deref(), expected, "{line}");
        };
        check("  runn x", "unknown instruction `RUNN`", Some("  ^^^^"));
        check("COPY --form=x a b", "unknown flag `--form`", Some("     ^^^^^^"));
        check("\tUSER ${x", "failed to process `${x`: missing `}`", Some("\t     ^^^"));
        check("COPY é a", "what is `a`", Some("       ^"));
        check("USER user", "what is `use`", None);
        check("FROM", "FROM requires either one or three arguments", None);
        check("x ``", "an empty `` name", None);
    }
}
