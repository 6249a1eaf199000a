//! Signals by name, as docker's `--stop-signal` and `kill -s` take them.

/// Names and numbers on x86_64 and aarch64 Linux (signal(7)).
const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

/// A text is not a signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a signal: expected a name such as `SIGTERM` or a number from 1 to 64")]
pub struct ParseSignalError(String);

/// The number of `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3` or `SIGRTMAX-1`.
pub fn parse_signal(text: &str) -> Result<i32, ParseSignalError> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let named = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    named
        .or_else(|| real_time(name))
        .or_else(|| upper.parse().ok())
        .filter(|number| (1..=RT_MAX).contains(number))
        .ok_or_else(|| ParseSignalError(text.chars().take(40).collect()))
}

/// `SIGTERM` for 15; `SIGRTMIN+3` for 37.
pub fn signal_name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None if number == RT_MIN => "SIGRTMIN".to_owned(),
        None if (RT_MIN..=RT_MAX).contains(&number) => format!("SIGRTMIN+{}", number - RT_MIN),
        None => format!("signal {number}"),
    }
}

fn real_time(name: &str) -> Option<i32> {
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let offset: i32 = if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse().ok()? };
        return (RT_MIN..=RT_MAX).contains(&(RT_MIN + offset)).then_some(RT_MIN + offset);
    }
    let rest = name.strip_prefix("RTMAX")?;
    let offset: i32 = if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse().ok()? };
    (RT_MIN..=RT_MAX).contains(&(RT_MAX - offset)).then_some(RT_MAX - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<i32>) {
        assert_eq!(parse_signal(text).ok(), expected, "`{text}`");
    }

    #[test]
    fn takes_names_and_numbers() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            check(text, Some(15));
        }
        check("RTMIN+3", Some(37));
        check("SIGRTMAX-1", Some(63));
        check("RTMIN", Some(34));
        for bad in ["", "SIG", "0", "65", "-1", "TERMINATE", "RTMIN-1", "RTMIN+31", "RTMAX+1"] {
            check(bad, None);
        }
    }

    #[test]
    fn names_read_back() {
        for number in 1..=64 {
            if (32..34).contains(&number) {
                continue; // glibc's own; unnamed
            }
            assert_eq!(parse_signal(&signal_name(number)), Ok(number));
        }
    }
}
