//! What an app's services are to the proxy.

use cutover_proxy::control::{Client, ServiceSpec};

use super::machine::{Step, failed};

/// Makes these all the services of `app` that get traffic, in one step.
pub(crate) fn set_app(
    proxy: &mut Client,
    app: &str,
    generation: u64,
    specs: Vec<ServiceSpec>,
) -> Step {
    proxy.set_app(app, generation, specs).map(drop).map_err(failed)
}
