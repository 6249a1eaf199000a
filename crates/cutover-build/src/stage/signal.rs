//! STOPSIGNAL: a number but 0, or a name with or without `SIG`.

const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

pub(super) fn is_valid(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |prefix: &str| {
        let digits = name.strip_prefix(prefix)?;
        let canonical = !digits.starts_with('0') && digits.len() <= 2;
        digits.parse::<u8>().ok().filter(|_number| canonical)
    };
    NAMES.contains(&name)
        || offset("RTMIN+").is_some_and(|offset| (1..=15).contains(&offset))
        || offset("RTMAX-").is_some_and(|offset| (1..=14).contains(&offset))
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn signals() {
        for text in ["9", "KILL", "SIGKILL", "sigterm", "SIGRTMIN+3", "RTMAX-14", "-1"] {
            assert!(is_valid(text), "`{text}` is a signal");
        }
        for text in ["", "0", "FOO", "SIGFOO", "RTMIN+16", "RTMIN+01", "9.5"] {
            assert!(!is_valid(text), "`{text}` is no signal");
        }
    }
}
