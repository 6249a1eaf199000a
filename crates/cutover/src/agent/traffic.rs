//! What an app's services are to the proxy.

use cutover_proxy::control::{Client, ServiceSpec};

use super::machine::{Step, failed};

/// Makes these all the services of `app` that get traffic.
pub(crate) fn set_app(
    proxy: &mut Client,
    app: &str,
    generation: u64,
    specs: Vec<ServiceSpec>,
) -> Step {
    let prefix = format!("{app}/");
    let listing = proxy.list().map_err(failed)?;
    let gone = listing.services.iter().filter(|known| {
        known.service.starts_with(&prefix)
            && !specs.iter().any(|spec| spec.service == known.service)
    });
    let gone: Vec<String> = gone.map(|known| known.service.clone()).collect();
    for spec in specs {
        proxy.set_service(spec).map_err(failed)?;
    }
    for service in gone {
        proxy.remove(&service, generation).map_err(failed)?;
    }
    Ok(())
}
