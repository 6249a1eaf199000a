//! When to try again. Pure: the driver sleeps.

use std::time::Duration;

use crate::error::Cause;
use crate::options::Limits;

/// The longest pause that a registry may ask for before we give up instead.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);
/// The longest pause of our own.
const MAX_BACKOFF: Duration = Duration::from_secs(8);

/// Counts failed attempts in a row; progress in between starts the count anew.
#[derive(Debug)]
pub(crate) struct Retries {
    limits: Limits,
    failed: u32,
}

impl Retries {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, failed: 0 }
    }

    pub(crate) fn progress(&mut self) {
        self.failed = 0;
    }

    /// The shortest pause, or `None` after too many attempts.
    pub(crate) fn soon(&mut self) -> Option<Duration> {
        self.failed += 1;
        (self.failed < self.limits.attempts).then_some(self.limits.backoff)
    }

    /// The pause before the next attempt, or `None`: give up with `cause`.
    pub(crate) fn after(&mut self, cause: &Cause) -> Option<Duration> {
        self.failed += 1;
        if !cause.is_transient() || self.failed >= self.limits.attempts {
            return None;
        }
        if let Cause::RateLimited { retry_after: Some(wait), .. }
        | Cause::Unavailable { retry_after: Some(wait), .. } = cause
        {
            return Some(*wait);
        }
        let doubled = 1u32.checked_shl(self.failed - 1).unwrap_or(u32::MAX);
        Some(self.limits.backoff.saturating_mul(doubled).min(MAX_BACKOFF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, expected_millis: &[Option<u64>]) {
        let limits = Limits { attempts: 4, ..Limits::default() };
        let mut retries = Retries::new(limits);
        for expected in expected_millis {
            let cause = Cause::Status {
                host: "h".to_owned(),
                what: "w".to_owned(),
                status,
                message: String::new(),
            };
            assert_eq!(retries.after(&cause), expected.map(Duration::from_millis), "{status}");
        }
    }

    #[test]
    fn backs_off_and_gives_up() {
        check(503, &[Some(250), Some(500), Some(1000), None]);
        check(404, &[None]);
    }

    #[test]
    fn a_registry_may_name_the_pause_within_reason() {
        let limited = |secs: u64| Cause::RateLimited {
            host: "h".to_owned(),
            message: String::new(),
            retry_after: Some(Duration::from_secs(secs)),
        };
        let mut retries = Retries::new(Limits::default());
        assert_eq!(retries.after(&limited(7)), Some(Duration::from_secs(7)));
        assert_eq!(retries.after(&limited(3600)), None);
    }

    #[test]
    fn progress_starts_anew() {
        let cause = Cause::Short { host: "h".to_owned(), got: 1, expected: 2 };
        let mut retries = Retries::new(Limits { attempts: 2, ..Limits::default() });
        assert!(retries.after(&cause).is_some());
        retries.progress();
        assert!(retries.after(&cause).is_some());
        assert!(retries.after(&cause).is_none());
    }
}
