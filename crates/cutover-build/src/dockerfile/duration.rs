//! Go's `time.ParseDuration`, as HEALTHCHECK's flags use it.

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
const MILLISECOND: u64 = 1_000_000;

/// `1m30s` → nanoseconds. 0 is allowed and means the default; less than a millisecond is not.
pub(super) fn interval(flag: &str, text: &str) -> Result<u64, String> {
    let invalid = || format!("invalid duration `{text}` for `--{flag}`");
    let short = || format!("`--{flag}` cannot be less than 1ms");
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let nanoseconds = parse(digits).ok_or_else(invalid)?;
    if nanoseconds > 0 && (negative || nanoseconds < MILLISECOND) {
        return Err(short());
    }
    Ok(nanoseconds)
}

fn parse(mut text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    if text.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !text.is_empty() {
        let number_end = text.find(|ch: char| !ch.is_ascii_digit() && ch != '.')?;
        let (number, rest) = text.split_at(number_end);
        let unit_end = rest.find(|ch: char| ch.is_ascii_digit() || ch == '.');
        let (unit, rest) = rest.split_at(unit_end.unwrap_or(rest.len()));
        let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(scaled(number, scale)?)?;
        text = rest;
    }
    i64::try_from(total).is_ok().then_some(total)
}

/// `1.5` × scale, without floating point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(scale)?;
    let mut part = scale;
    for digit in fraction.bytes() {
        part /= 10;
        total = total.checked_add(u64::from(digit - b'0') * part)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::interval;

    #[test]
    fn durations_read_as_in_go() {
        let check = |text, expected: Option<u64>| {
            assert_eq!(interval("interval", text).ok(), expected, "of `{text}`");
        };
        check("0", Some(0));
        check("0s", Some(0));
        check("5s", Some(5_000_000_000));
        check("1m30s", Some(90_000_000_000));
        check("1.5h", Some(5_400_000_000_000));
        check("1ms", Some(1_000_000));
        check("+.5s", Some(500_000_000));
        for bad in ["", "5", "s", ".s", "1x", "1s2", "999us", "-1s", "1..2s", "9999999h"] {
            check(bad, None);
        }
    }
}
