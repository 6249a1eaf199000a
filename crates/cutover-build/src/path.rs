//! Go's `path.Clean`, `path.Join` and what BuildKit builds on them: paths as text, no file system.

/// Go's `path.Clean`: no `.`, no `..` that can be resolved, no double or trailing slash.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// `path` below `parent`, both cleaned; an absolute `path` stands alone. The result is absolute:
/// `..` cannot lead out of the root.
pub(crate) fn absolute(parent: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("/{parent}/{path}")) }
}

/// [`absolute`] that keeps what a trailing `/` or `/.` says: that the path is a directory.
pub(crate) fn destination(parent: &str, path: &str) -> String {
    let path = if path.is_empty() || path == "." { "./" } else { path };
    let mut joined = absolute(parent, path);
    if path.ends_with('/') && !joined.ends_with('/') {
        joined.push('/');
    } else if path.ends_with("/.") {
        joined.push_str(if joined == "/" { "." } else { "/." });
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_as_go_does() {
        let check = |path, expected| assert_eq!(clean(path), expected, "of `{path}`");
        check("", ".");
        check("/", "/");
        check("a//b/./c/", "a/b/c");
        check("a/../..", "..");
        check("../a", "../a");
        check("/../a", "/a");
        check("/a/..", "/");
    }

    #[test]
    fn destinations_keep_their_slash() {
        let check = |parent, path, expected| {
            assert_eq!(destination(parent, path), expected, "of `{path}` in `{parent}`");
        };
        check("/w", "a", "/w/a");
        check("/w", "a/", "/w/a/");
        check("/w", "", "/w/");
        check("/w", ".", "/w/");
        check("/w", "/a/.", "/a/.");
        check("/w", "..", "/");
        check("/", "./", "/");
        check("/w", "../../x", "/x");
    }
}
