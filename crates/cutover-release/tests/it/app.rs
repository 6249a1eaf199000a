//! Releases from one-line descriptions: `web image=v2 replicas=2 routes=/ after=db`.

use std::collections::BTreeMap;
use std::time::Duration;

use cutover_core::Digest;
use cutover_core::release::SealedService;
use cutover_core::service::{
    CommandCheck, Condition, FailureAction, Hook, HttpCheck, Mount, MountKind, Order, Port,
    PortRange, Protocol, Route, Service, Standby, Verify, Volume,
};
use cutover_core::units::parse_duration;

/// The sealed services that these lines describe.
pub(crate) fn services<'a>(
    lines: impl IntoIterator<Item = &'a str>,
) -> BTreeMap<String, SealedService> {
    lines.into_iter().map(service).map(|sealed| (sealed.service.name.clone(), sealed)).collect()
}

fn service(line: &str) -> SealedService {
    let mut words = line.split_whitespace();
    let name = words.next().expect("a service has a name").to_owned();
    let mut service = Service { name: name.clone(), ..Service::default() };
    let mut image = "v1".to_owned();
    let mut secret = None;
    for word in words {
        let (key, value) = word.split_once('=').expect("settings look like key=value");
        match key {
            "image" => value.clone_into(&mut image),
            "secret" => secret = Some(Digest::sha256(value.as_bytes())),
            _ => set(&mut service, key, value),
        }
    }
    let reference = format!("example.org/{name}:{image}").parse().expect("a reference");
    let digest = Digest::sha256(format!("{name} {image}").as_bytes());
    let mut sealed = SealedService::new(service, reference, digest);
    sealed.secret_versions.extend(secret.map(|version| ("password".to_owned(), version)));
    sealed
}

fn set(service: &mut Service, key: &str, value: &str) {
    let update = &mut service.deploy.update;
    match key {
        "replicas" => service.deploy.replicas = value.parse().expect("a number"),
        "env" => {
            let (name, value) = value.split_once(':').expect("NAME:VALUE");
            service.environment.insert(name.to_owned(), value.to_owned());
        }
        "after" => service
            .depends_on
            .extend(value.split(',').map(|name| (name.to_owned(), Condition::ServiceHealthy))),
        "job" => {
            let done = Condition::ServiceCompletedSuccessfully;
            service.depends_on.insert(value.to_owned(), done);
        }
        "volume" => service.volumes.push(volume(value)),
        "port" => service.ports.push(Port {
            target: 80,
            published: Some(PortRange::one(value.parse().expect("a port"))),
            protocol: Protocol::Tcp,
            host_ip: None,
        }),
        "hook" | "each" => service.pre_start.push(Hook {
            command: vec![value.to_owned()],
            per_replica: key == "each",
            ..Hook::default()
        }),
        "routes" => {
            let route = Route { host: None, path_prefix: value.to_owned(), strip_prefix: false };
            service.cutover.routes.push(route);
            service.cutover.port = Some(80);
        }
        "verify" => {
            let check = HttpCheck { path: value.to_owned(), ..HttpCheck::default() };
            service.cutover.verify.push(Verify::Http(check));
        }
        "try" => service.cutover.verify.push(Verify::Command(CommandCheck {
            command: vec![value.to_owned()],
            timeout: Duration::from_secs(5),
        })),
        "standby" => {
            service.cutover.standby = match value {
                "running" => Standby::Running,
                "frozen" => Standby::Frozen,
                "stopped" => Standby::Stopped,
                _ => Standby::None,
            }
        }
        "order" => {
            let order = if value == "stop-first" { Order::StopFirst } else { Order::StartFirst };
            update.order = Some(order);
            service.deploy.rollback.order = Some(order);
        }
        "parallelism" => update.parallelism = value.parse().expect("a number"),
        "delay" => update.delay = parse_duration(value).expect("a duration"),
        "monitor" => {
            update.monitor = parse_duration(value).expect("a duration");
            service.deploy.rollback.monitor = update.monitor;
        }
        "ratio" => update.max_failure_ratio = value.parse().expect("a share"),
        "action" => {
            update.failure_action = match value {
                "pause" => FailureAction::Pause,
                "continue" => FailureAction::Continue,
                _ => FailureAction::Rollback,
            }
        }
        other => panic!("unknown setting `{other}`"),
    }
}

fn volume(name: &str) -> Mount {
    let volume = Volume { name: name.to_owned(), ..Volume::default() };
    let kind = MountKind::Volume { volume: Some(volume), no_copy: false, subpath: None };
    Mount { kind, target: "/data".to_owned(), read_only: false }
}
