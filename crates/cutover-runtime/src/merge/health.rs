//! Which health check a container has.

use cutover_core::oci::Healthcheck;

use super::{HealthOptions, MergeError};

/// Inherits field by field; `NONE` switches off.
pub(super) fn healthcheck(
    image: Option<&Healthcheck>,
    options: &HealthOptions,
) -> Result<Option<Healthcheck>, MergeError> {
    if options.disable {
        return Ok(None);
    }
    let mut check = match (&options.check, image) {
        (None, None) => return Ok(None),
        (None, Some(image)) => image.clone(),
        (Some(own), None) => own.clone(),
        (Some(own), Some(image)) => inherit(own, image),
    };
    let shown = check.test.join(" ");
    match check.test.first().map(String::as_str) {
        None | Some("NONE") => return Ok(None),
        Some("CMD" | "CMD-SHELL") if check.test.len() < 2 => {
            return Err(MergeError::HealthCommand(shown));
        }
        Some("CMD") => {}
        Some("CMD-SHELL") => check.test.truncate(2),
        Some(_) => return Err(MergeError::HealthTest(shown)),
    }
    Ok(Some(check))
}

fn inherit(own: &Healthcheck, image: &Healthcheck) -> Healthcheck {
    let or = |own: u64, image: u64| if own == 0 { image } else { own };
    Healthcheck {
        test: if own.test.is_empty() { image.test.clone() } else { own.test.clone() },
        interval: or(own.interval, image.interval),
        timeout: or(own.timeout, image.timeout),
        start_period: or(own.start_period, image.start_period),
        start_interval: or(own.start_interval, image.start_interval),
        retries: or(own.retries, image.retries),
    }
}
