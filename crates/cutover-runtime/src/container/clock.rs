//! The two clocks, for drivers only: what decides gets the time as an argument.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Wall time, for what people read.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Time that never jumps, for timers.
pub(crate) fn monotonic() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Which boot of the machine this is.
pub(crate) fn boot_id() -> String {
    let text = fs_err::read_to_string("/proc/sys/kernel/random/boot_id");
    text.map(|text| text.trim().to_owned()).unwrap_or_default()
}
