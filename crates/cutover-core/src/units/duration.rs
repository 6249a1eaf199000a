//! Durations as Go and compose write them: `1m30s`, `500ms`, `2h`.

use std::fmt::Write as _;
use std::time::Duration;

use super::ParseUnitError;

const WHAT: &str = "duration";
const HINT: &str = "write numbers with us, ms, s, m, h or d, e.g. `1m30s`";

/// Parses `1h15m`, `1.5s`, `90s`, `2d`; a bare `0` is zero. Other bare numbers are refused: their
/// unit would be a guess.
pub fn parse_duration(text: &str) -> Result<Duration, ParseUnitError> {
    let bad = |why: &str| ParseUnitError::new(text, WHAT, why);
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(bad("it must not be negative"));
    }
    if text.is_empty() {
        return Err(bad(HINT));
    }
    let mut rest = text;
    let mut total = 0u128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        if tail.is_empty() && !number.is_empty() {
            return Err(bad(&format!("the unit is missing: {HINT}")));
        }
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let nanos = unit_nanos(unit).ok_or_else(|| bad(HINT))?;
        let part = scaled(number, nanos).ok_or_else(|| bad(HINT))?;
        total = total.checked_add(part).ok_or_else(|| bad("it is too long"))?;
        rest = tail;
    }
    // a century keeps every later sum of two durations and an instant in range
    let nanos = u64::try_from(total).ok().filter(|nanos| *nanos < 3_155_760_000_000_000_000);
    nanos.map(Duration::from_nanos).ok_or_else(|| bad("it is too long"))
}

fn unit_nanos(unit: &str) -> Option<u128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// `number` (decimal, with an optional fraction) times `nanos`.
fn scaled(number: &str, nanos: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 18 || fraction.len() > 18 {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0u128) } else { text.parse().ok() };
    let whole = digits(whole)?.checked_mul(nanos)?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    Some(whole + digits(fraction)?.checked_mul(nanos)? / scale)
}

/// The shortest text that parses back to the same duration, e.g. `1m30s`.
pub fn format_duration(duration: Duration) -> String {
    let mut nanos = duration.as_nanos();
    let mut out = String::new();
    for (unit, size) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        let count = nanos / size;
        nanos %= size;
        if count > 0 {
            let _infallible = write!(out, "{count}{unit}");
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// For `#[serde(with)]`: a duration as its text.
pub mod duration_text {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(serde::de::Error::custom)
    }
}

/// For `#[serde(with)]`: an optional duration as its text.
pub mod duration_text_opt {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_some(&super::format_duration(*value)),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse_duration(&text).map_err(serde::de::Error::custom)).transpose()
    }
}
