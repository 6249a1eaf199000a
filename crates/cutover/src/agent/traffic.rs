//! What an app's services are to the proxy.

use std::collections::BTreeSet;

use cutover_proxy::control::{Client, ServiceSpec};

use super::machine::{Step, failed};

/// Makes these all the services of `app` that get traffic, in one step.
///
/// A switch that is performed again after a crash finds its own work: the proxy would refuse the
/// same generation with, say, another opinion of a target's health, so it is not asked.
pub(crate) fn set_app(
    proxy: &mut Client,
    app: &str,
    generation: u64,
    specs: Vec<ServiceSpec>,
) -> Step {
    let known = proxy.list().map_err(failed)?.services;
    if is_done(&known, app, generation, &specs) {
        return Ok(());
    }
    proxy.set_app(app, generation, specs).map_err(failed)?;
    Ok(())
}

fn is_done(known: &[ServiceSpec], app: &str, generation: u64, specs: &[ServiceSpec]) -> bool {
    let prefix = format!("{app}/");
    let own: Vec<&ServiceSpec> =
        known.iter().filter(|spec| spec.service.starts_with(&prefix)).collect();
    let same = |have: &ServiceSpec, want: &ServiceSpec| {
        let targets = |spec: &ServiceSpec| -> BTreeSet<_> {
            spec.targets.iter().map(|target| (target.id.clone(), target.addr)).collect()
        };
        have.service == want.service
            && have.generation == generation
            && have.routes == want.routes
            && targets(have) == targets(want)
    };
    !specs.is_empty()
        && own.len() == specs.len()
        && specs.iter().all(|want| own.iter().any(|have| same(have, want)))
}

#[cfg(test)]
mod tests {
    use cutover_proxy::control::{ServiceOptions, TargetSpec};

    use super::*;

    fn spec(service: &str, generation: u64, target: &str, proven: bool) -> ServiceSpec {
        let addr = "10.0.0.1:80".parse().unwrap();
        let targets = vec![TargetSpec { id: target.to_owned(), addr, release: 1, proven }];
        let options = ServiceOptions::default();
        let service = service.to_owned();
        ServiceSpec { service, generation, routes: Vec::new(), targets, health: None, options }
    }

    #[test]
    fn the_same_switch_again_is_recognised() {
        let known = [spec("shop/web", 3, "web-1-1", true), spec("other/web", 9, "x", true)];
        let again = |service, generation, target| {
            is_done(&known, "shop", generation, &[spec(service, generation, target, false)])
        };
        assert!(again("shop/web", 3, "web-1-1"), "health does not matter");
        assert!(!again("shop/web", 4, "web-1-1"), "a newer switch");
        assert!(!again("shop/web", 3, "web-2-1"), "other targets");
        assert!(!again("shop/api", 3, "web-1-1"), "another service");
        assert!(!is_done(&known, "shop", 3, &[]), "nothing is never done already");
    }
}
