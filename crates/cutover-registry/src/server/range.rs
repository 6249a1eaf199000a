//! The `Range` of a GET and the `Content-Range` of an upload. Pure.

use std::ops::Range;

/// What a `Range` header asks of a file of a certain size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No usable range: everything. Several ranges, which RFC 9110 lets a server ignore, and which
    /// can be made to overlap a thousandfold, are answered so too.
    All,
    Part(Range<u64>),
    Unsatisfiable,
}

/// Reads a `Range` header (RFC 9110, section 14) for a file of `size` bytes.
///
/// One form differs from the RFC: a last byte before the first one is a syntax error there, to be
/// ignored; the conformance suite wants 416.
pub(crate) fn wanted(header: &str, size: u64) -> Wanted {
    let Some((unit, set)) = header.split_once('=') else { return Wanted::All };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Wanted::All;
    }
    let Some((first, last)) = set.trim().split_once('-') else { return Wanted::All };
    match (number(first), number(last)) {
        (Number::None, Number::Is(count)) => match count.min(size) {
            0 => Wanted::Unsatisfiable,
            count => Wanted::Part(size - count..size),
        },
        (Number::Is(first), _) if first >= size => Wanted::Unsatisfiable,
        (Number::Is(first), Number::None) => Wanted::Part(first..size),
        (Number::Is(first), Number::Is(last)) if last < first => Wanted::Unsatisfiable,
        (Number::Is(first), Number::Is(last)) => {
            Wanted::Part(first..last.saturating_add(1).min(size))
        }
        _ => Wanted::All,
    }
}

/// Reads a chunk's `Content-Range`: `FIRST-LAST`, as in the specification's regular expression, with
/// `bytes ` before and `/SIZE` after it forgiven.
pub(crate) fn chunk(header: &str) -> Option<Range<u64>> {
    let text = header.trim();
    let text = text.strip_prefix("bytes ").or(text.strip_prefix("bytes=")).unwrap_or(text);
    let text = text.split_once('/').map_or(text, |(range, _)| range);
    let (first, last) = text.split_once('-')?;
    match (number(first), number(last)) {
        (Number::Is(first), Number::Is(last)) if first <= last => Some(first..last.checked_add(1)?),
        _ => None,
    }
}

enum Number {
    None,
    Is(u64),
    Wrong,
}

/// Decimal digits only (`str::parse` takes a sign). What does not fit is as good as the largest.
fn number(text: &str) -> Number {
    match text {
        "" => Number::None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Number::Is(digits.parse().unwrap_or(u64::MAX))
        }
        _ => Number::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_file() {
        let part = |from, to| Wanted::Part(from..to);
        for (header, expected) in [
            ("bytes=500-1499", part(500, 1500)),
            ("bytes=500-", part(500, 2048)),
            ("bytes=-500", part(1548, 2048)),
            ("bytes=2000-5000", part(2000, 2048)),
            ("bytes=0-0", part(0, 1)),
            ("bytes=-5000", part(0, 2048)),
            ("Bytes = 1-2", part(1, 3)),
            ("bytes=0-99999999999999999999999", part(0, 2048)),
            ("bytes=500-0", Wanted::Unsatisfiable),
            ("bytes=5000-10000", Wanted::Unsatisfiable),
            ("bytes=2048-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=99999999999999999999999-", Wanted::Unsatisfiable),
            ("bytes=0-1,1-2,0-5", Wanted::All),
            ("bytes=-", Wanted::All),
            ("bytes=+1-2", Wanted::All),
            ("bytes=a-b", Wanted::All),
            ("lines=1-2", Wanted::All),
            ("", Wanted::All),
        ] {
            assert_eq!(wanted(header, 2048), expected, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Unsatisfiable);
    }

    #[test]
    fn chunks() {
        for (header, expected) in [
            ("0-9", Some(0..10)),
            ("bytes 5-9/10", Some(5..10)),
            ("9-0", None),
            ("0-18446744073709551615", None),
            ("-5", None),
            ("5-", None),
            ("x", None),
        ] {
            assert_eq!(chunk(header), expected, "{header}");
        }
    }
}
