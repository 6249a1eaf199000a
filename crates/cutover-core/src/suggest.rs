//! "Did you mean": the known word nearest to one that is not known.

/// The word of `known` that `word` most likely stands for, or `None` when nothing is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let simple = |text: &str| text.to_ascii_lowercase().replace(['-', ' '], "_");
    let wanted = simple(word);
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&wanted, &simple(candidate)), candidate))
        .filter(|(score, _)| *score > 0.83)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: Option<&str>) {
        let known = ["image", "healthcheck", "ports", "depends_on", "environment", "deploy"];
        assert_eq!(nearest(word, known), expected, "nearest to `{word}`");
    }

    #[test]
    fn finds_typos_and_other_spellings() {
        check("imagee", Some("image"));
        check("port", Some("ports"));
        check("health_check", Some("healthcheck"));
        check("dependsOn", Some("depends_on"));
        check("depends-on", Some("depends_on"));
        check("enviroment", Some("environment"));
        check("Image", Some("image"));
    }

    #[test]
    fn says_nothing_when_nothing_is_near() {
        check("zzz", None);
        check("", None);
        check("volumes", None);
    }
}
