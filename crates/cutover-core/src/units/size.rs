//! Sizes as docker writes them (`512m`, `1.5g`, `1GiB`: powers of 1024) and shares of CPUs.

use super::ParseUnitError;

/// Parses a number of bytes: bare, or with `b`, `k`, `m`, `g`, `t`, `p`, each optionally followed
/// by `b` or `ib`, in either case.
pub fn parse_size(text: &str) -> Result<u64, ParseUnitError> {
    let bad = |why: &str| ParseUnitError::new(text, "size", why);
    let hint = "write bytes, or a number with b, k, m or g, e.g. `512m`";
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let shift = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" if unit == "ib" => return Err(bad(hint)),
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(bad(hint)),
    };
    decimal(number, 1u128 << shift).ok_or_else(|| bad(hint))
}

/// Parses a share of CPUs, e.g. `0.5`, into billionths of one.
pub fn parse_cpus(text: &str) -> Result<u64, ParseUnitError> {
    let bad = || ParseUnitError::new(text, "number of CPUs", "write e.g. `0.5` or `2`");
    decimal(text.trim(), 1_000_000_000).ok_or_else(bad)
}

/// `number` (digits with an optional fraction) times `unit`, rounded down.
fn decimal(number: &str, unit: u128) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0u128) } else { text.parse().ok() };
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let total = digits(whole)?.checked_mul(unit)? + digits(fraction)?.checked_mul(unit)? / scale;
    u64::try_from(total).ok()
}

/// A size for people, in powers of 1000 as `docker images` prints them, e.g. `74.8MB`.
pub fn format_size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    // integers throughout: `scale` is the unit, `tenths` the value in tenths of it
    let mut scale = 1u64;
    let mut unit = 0;
    while unit + 1 < units.len() && bytes / scale >= 1000 {
        scale *= 1000;
        unit += 1;
    }
    let hundredths = u128::from(bytes) * 100 / u128::from(scale);
    match hundredths {
        _ if unit == 0 => format!("{bytes}B"),
        0..1000 => format!("{}.{:02}{}", hundredths / 100, hundredths % 100, units[unit]),
        1000..10_000 => {
            format!("{}.{}{}", hundredths / 100, hundredths % 100 / 10, units[unit])
        }
        _ => format!("{}{}", hundredths / 100, units[unit]),
    }
}
