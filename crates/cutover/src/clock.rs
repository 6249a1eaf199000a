//! The only place that reads the clock and draws randomness; everything else gets them as
//! arguments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Seconds and nanoseconds since 1970, UTC.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Time since 1970.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A timestamp as the time since 1970; 0 for one before that.
pub(crate) fn span(timestamp: Timestamp) -> Duration {
    Duration::try_from(timestamp.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default()
}

/// 32 random bytes as 64 hex digits: a container's id.
pub(crate) fn random_id() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the kernel has randomness");
    cutover_core::digest::hex(&bytes)
}

/// 16 random bytes.
pub(crate) fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel has randomness");
    bytes
}

/// A random number.
pub(crate) fn random() -> u64 {
    getrandom::u64().expect("the kernel has randomness")
}

/// How long ago, in docker's words: `3 minutes ago`.
pub(crate) fn ago(then: Duration, now: Duration) -> String {
    let seconds = now.saturating_sub(then).as_secs();
    format!("{} ago", human(seconds))
}

/// A span in docker's words: `About a minute`, `3 hours`, `2 weeks`.
pub(crate) fn human(seconds: u64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_dockers() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (61, "About a minute"),
            (180, "3 minutes"),
            (3600, "About an hour"),
            (3 * 3600, "3 hours"),
            (3 * 86400, "3 days"),
            (21 * 86400, "3 weeks"),
            (90 * 86400, "3 months"),
            (3 * 365 * 86400, "3 years"),
        ] {
            assert_eq!(human(seconds), text);
        }
    }
}
