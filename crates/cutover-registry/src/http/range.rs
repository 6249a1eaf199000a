//! What servers say about parts of a blob. Pure; they say it in several ways.

/// The first byte of a `Content-Range: bytes FIRST-LAST/SIZE`.
pub(crate) fn first(content_range: &str) -> Option<u64> {
    let first = content_range.strip_prefix("bytes ")?.split('-').next()?;
    first.trim().parse().ok()
}

/// How many bytes an upload has: `Range: 0-LAST`; some put `bytes=` before it. `0-0` is written for
/// none at all as well as for one: then nothing is the safe reading.
pub(crate) fn taken(range: &str) -> Option<u64> {
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let last: u64 = range.split_once('-')?.1.trim().parse().ok()?;
    if last == 0 { Some(0) } else { last.checked_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(first(text), expected, "{text}");
        check("bytes 5-9/10", Some(5));
        check("bytes 5-9/*", Some(5));
        check("bytes */10", None);
        check("5-9/10", None);
        check("bytes 99999999999999999999-", None);
        let check = |text: &str, expected: Option<u64>| assert_eq!(taken(text), expected, "{text}");
        check("0-9", Some(10));
        check("bytes=0-9", Some(10));
        check("0-0", Some(0));
        check("0-18446744073709551615", None);
        check("", None);
    }
}
