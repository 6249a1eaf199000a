//! Proof that an instance works: health with identity, and verification.

use super::super::machine::{Step, failed, health};
use super::one_off::Deadline;
use super::prepare::sealed;
use super::{AgentWorld, POLL, SETTLE};
use cutover_core::release::SealedService;
use cutover_core::service::{HttpCheck, HttpHealth, Verify};
use cutover_proxy::control::{ProbeResult, ProbeSpec, ServiceOptions};
use cutover_release::facts::Health;
use cutover_release::{Done, Instance, Scene, StepError, World};
use cutover_runtime::container::{Container, Status};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

impl AgentWorld {
    pub(super) fn await_healthy(
        &self,
        scene: &Scene<'_>,
        instance: &Instance,
        timeout: Duration,
    ) -> Step<Done> {
        let sealed = sealed(scene, instance)?;
        let container = self.require(instance)?;
        let timeout = timeout + image_patience(&container, sealed);
        let deadline = Deadline::after(Some(timeout));
        let settled = Deadline::after(Some(SETTLE));
        loop {
            let now = container.state().map_err(failed)?;
            if now.status != Status::Running {
                let word = now.status.as_str();
                return Err(StepError::new(format!("instance `{}` is {word}", instance.id))
                    .with_evidence(self.evidence(&container)));
            }
            let checked = container.config().healthcheck.is_some();
            let answer = match (checked, health(&now)) {
                (true, Health::Unhealthy) => {
                    return Err(StepError::new(format!("instance `{}` is unhealthy", instance.id))
                        .with_evidence(self.evidence(&container)));
                }
                (true, Health::Unknown) => Err("its healthcheck is still starting".to_owned()),
                _ if !sealed.service.cutover.routes.is_empty() => {
                    self.probe_health(instance, sealed)
                }
                (true, Health::Healthy) => Ok(()),
                (false, _) if settled.passed() => Ok(()),
                (false, _) => Err("it has only just started".to_owned()),
            };
            // The address is leased to this container alone, and it still runs: it is the one
            // that answered.
            let last = match answer {
                Ok(()) if container.state().map_err(failed)?.pid == now.pid => {
                    return Ok(Done::default());
                }
                Ok(()) => "it was restarted while it was probed".to_owned(),
                Err(why) => why,
            };
            if scene.must_stop(self.interrupt()) {
                return Err(StepError::interrupted());
            }
            if deadline.passed() {
                let limit = cutover_core::units::format_duration(timeout);
                let reason =
                    format!("instance `{}` is not healthy after {limit}: {last}", instance.id);
                return Err(StepError::new(reason).with_evidence(self.evidence(&container)));
            }
            std::thread::sleep(POLL);
        }
    }

    /// One probe of the instance's own address; why it failed, if it did.
    pub(super) fn probe_health(
        &self,
        instance: &Instance,
        sealed: &SealedService,
    ) -> Result<(), String> {
        let target = self.machine.target(&self.app, instance, sealed);
        let mut target = target.map_err(|error| error.reason)?;
        let Some(health) = &sealed.service.cutover.health else {
            let timeout = Duration::from_secs(1);
            return match TcpStream::connect_timeout(&target, timeout) {
                Ok(_open) => Ok(()),
                Err(error) => Err(format!("connecting to {target} failed: {error}")),
            };
        };
        target.set_port(health.port.unwrap_or(target.port()));
        let check = health_check(health, sealed);
        let result = self.probe(instance, target, check).map_err(|error| error.reason)?;
        match result.passed {
            true => Ok(()),
            false => Err(result.reason.unwrap_or_else(|| "the probe failed".to_owned())),
        }
    }

    pub(super) fn probe(
        &self,
        instance: &Instance,
        addr: SocketAddr,
        check: HttpCheck,
    ) -> Step<ProbeResult> {
        let spec = ProbeSpec {
            addr,
            id: instance.id.0.clone(),
            options: ServiceOptions::default(),
            checks: vec![check],
        };
        let mut results = self.machine.proxy()?.probe(spec).map_err(failed)?;
        results.pop().ok_or_else(|| StepError::new("the proxy sent no result"))
    }

    pub(super) fn verify(&self, scene: &Scene<'_>, instance: &Instance) -> Step<Done> {
        let sealed = sealed(scene, instance)?;
        let addr = self.machine.target(&self.app, instance, sealed)?;
        let container = self.require(instance)?;
        let checks = sealed.service.cutover.verify.iter().filter_map(|verify| match verify {
            Verify::Http(check) => Some(check),
            Verify::Command(_) => None,
        });
        for check in checks {
            let mut check = check.clone();
            check.host = check.host.or_else(|| first_host(sealed));
            let mut attempt = 0;
            loop {
                let result = self.probe(instance, addr, check.clone())?;
                if result.passed {
                    break;
                }
                if attempt >= check.retries || scene.must_stop(self.interrupt()) {
                    let mut evidence = answer(&check, &result);
                    evidence.extend(self.machine.log_tail(&container));
                    let reason = result.reason.unwrap_or_else(|| "verification failed".to_owned());
                    return Err(StepError::new(reason).with_evidence(evidence));
                }
                attempt += 1;
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        Ok(Done::default())
    }
}

/// The plan knows the file's health check; an image's own may ask for more time to start.
pub(super) fn image_patience(container: &Container, sealed: &SealedService) -> Duration {
    match (&sealed.service.healthcheck, &container.config().healthcheck) {
        (None, Some(check)) => Duration::from_nanos(check.start_period),
        _ => Duration::ZERO,
    }
}

/// The response as a human wants to see it.
pub(super) fn answer(check: &HttpCheck, result: &ProbeResult) -> Vec<String> {
    let mut lines = vec![format!("> {} {}", check.method, check.path)];
    if result.status != 0 {
        lines.push(format!("< {}", result.status));
        lines.extend(result.headers.iter().map(|(name, value)| format!("< {name}: {value}")));
    }
    lines.extend(result.body.lines().take(10).map(|line| format!("  {line}")));
    lines
}

pub(super) fn first_host(sealed: &SealedService) -> Option<String> {
    let hosts = sealed.service.cutover.routes.iter().filter_map(|route| route.host.clone());
    hosts.map(|host| host.trim_start_matches("*.").to_owned()).next()
}

pub(super) fn health_check(health: &HttpHealth, sealed: &SealedService) -> HttpCheck {
    HttpCheck {
        path: health.path.clone(),
        status: health.status.clone(),
        timeout: health.timeout,
        host: health.host.clone().or_else(|| first_host(sealed)),
        ..HttpCheck::default()
    }
}
