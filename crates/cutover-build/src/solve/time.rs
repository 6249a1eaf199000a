//! The time that a layer's files have, and seconds since 1970 → RFC 3339 without a calendar library.
//!
//! A cached layer must be the layer that would be made anew, so no clock and no commit may be in it:
//! a layer's time is a function of its key. It grows from layer to layer of a stage, so that what a
//! step makes is younger than what it was made of, and it is another one when the key is another
//! one, so that web servers' entity tags, made of time and size, change with the content. See
//! docs/decisions/0013-times-in-images.md.

use cutover_core::Digest;

/// 2000-01-01: every layer's time is later.
pub(crate) const FIRST: i64 = 946_684_800;

/// The time of the layer with this key on top of one with the time `below`: up to three days later.
pub(crate) fn of_layer(below: i64, key: &Digest) -> i64 {
    let digits = key.hex().get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    below + 1 + i64::from(digits.unwrap_or(0) % (1 << 18))
}

/// `2006-01-02T15:04:05Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970 → year, month and day of the Gregorian calendar. Counts in eras of 400 years
/// that start on 1 March, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
