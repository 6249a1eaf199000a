//! Addresses and values as they may be told.

/// An address without user, password and query: each may let somebody in. What is no address stays.
pub fn address(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (rest, fragment) = match rest.split_once('#') {
        Some((rest, fragment)) => (rest, format!("#{fragment}")),
        None => (rest, String::new()),
    };
    let rest = rest.split('?').next().unwrap_or_default();
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (rest, String::new()),
    };
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}{fragment}")
}

/// What is said in place of a value that may be secret.
pub(super) const HIDDEN: &str = "***";

/// The value of a build argument, unless its name or form says that nobody should see it.
pub(super) fn argument(name: &str, value: &str) -> String {
    let proxy = name.to_ascii_lowercase().ends_with("_proxy");
    match crate::checks::sounds_secret(name) || proxy {
        true => HIDDEN.to_owned(),
        false => address(value),
    }
}

/// A Dockerfile without values that its names say are secret: from such a name on, a line is cut.
pub(super) fn dockerfile(text: &str) -> String {
    text.lines().map(|line| self::line(line) + "\n").collect()
}

fn line(line: &str) -> String {
    let is_env = |word: &str| word.eq_ignore_ascii_case("ENV");
    let mut after_env = false;
    for word in line.split_whitespace() {
        let (name, has_value) = match word.split_once('=') {
            Some((name, _)) => (name, true),
            // the old form `ENV NAME value`
            None => (word, after_env),
        };
        let name = name.trim_start_matches(['"', '\'']);
        if has_value && crate::checks::sounds_secret(name) {
            let start = word.as_ptr().addr() - line.as_ptr().addr();
            let gap = if word.contains('=') { "=" } else { " " };
            return format!("{}{name}{gap}{HIDDEN}", &line[..start]);
        }
        after_env = is_env(word);
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_lets_in_is_told() {
        let check = |text: &str, expected: &str| assert_eq!(address(text), expected, "{text}");
        check("https://me:t0ken@h.org/a/b.git?auth=x#main:sub", "https://h.org/a/b.git#main:sub");
        check("https://h.org/x.tar", "https://h.org/x.tar");
        check("ssh://git@h.org", "ssh://h.org");
        check("git@h.org:a/b", "git@h.org:a/b");
        check("plain", "plain");
        assert_eq!(argument("API_TOKEN", "x"), HIDDEN);
        assert_eq!(argument("HTTP_PROXY", "http://u:p@h"), HIDDEN);
        assert_eq!(argument("VERSION", "1.2"), "1.2");
        assert_eq!(argument("MIRROR", "http://u:p@h/x"), "http://h/x");
    }

    #[test]
    fn a_dockerfile_keeps_its_secrets() {
        let check = |text: &str, expected: &str| assert_eq!(line(text), expected, "{text}");
        check("ARG API_TOKEN=\"a b\"", "ARG API_TOKEN=***");
        check("ENV A=1 PASSWORD=x B=2", "ENV A=1 PASSWORD=***");
        check("env password x y", "env password ***");
        check("    DB_PASSWORD=x \\", "    DB_PASSWORD=***");
        check("ARG API_TOKEN", "ARG API_TOKEN");
        check("RUN make VERSION=1", "RUN make VERSION=1");
        check("ENV PATH=/bin:$PATH", "ENV PATH=/bin:$PATH");
        assert_eq!(dockerfile("FROM scratch\nENV A b\n"), "FROM scratch\nENV A b\n");
    }
}
