//! Values as Go prints them: history lines are compared byte for byte with BuildKit's.

use crate::dockerfile::Health;

/// `%q` of a list: `["a" "b c"]`.
pub(super) fn quoted_list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
}

/// `%v` of a list: `[a b c]`.
pub(super) fn list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

fn quoted(word: &str) -> String {
    let mut out = String::from("\"");
    for ch in word.chars() {
        match ch {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            ch if u32::from(ch) < 0x20 || ch == '\x7f' => {
                out.push_str(&format!("\\x{:02x}", u32::from(ch)));
            }
            ch if ch.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(ch))),
            ch => out.push(ch),
        }
    }
    out.push('"');
    out
}

/// `%+v` of a health check.
pub(super) fn health(health: &Health) -> String {
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        list(&health.test),
        duration(health.interval),
        duration(health.timeout),
        duration(health.start_period),
        duration(health.start_interval),
        health.retries
    )
}

/// Go's `Duration.String`: `1m30s`, `1.5s`, `100ms`.
fn duration(nanoseconds: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let fraction = |value: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanoseconds, 1_000)),
        1_000_000..SECOND => format!("{}ms", fraction(nanoseconds, 1_000_000)),
        _ => {
            let minutes = nanoseconds / SECOND / 60;
            let seconds = fraction(nanoseconds % (60 * SECOND), SECOND);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_gos() {
        let words = ["a b".to_owned(), "\"\\\n\x01é".to_owned()];
        assert_eq!(quoted_list(&words), r#"["a b" "\"\\\n\x01é"]"#);
        let check = |ns, expected| assert_eq!(duration(ns), expected);
        check(0, "0s");
        check(1_000_000, "1ms");
        check(1_500_000_000, "1.5s");
        check(90_000_000_000, "1m30s");
        check(3_600_000_000_000, "1h0m0s");
        check(1_500, "1.5µs");
    }
}
