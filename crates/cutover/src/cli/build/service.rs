//! What a compose file's `build` says besides the Dockerfile: secrets, agents, rights, limits, and
//! `x-cutover` in the Dockerfile's place.

use cutover_build::{BuildOptions, DockerfileSource, Entitlement, ExtraHost, Network, Secret};
use cutover_core::oci::Platform;
use cutover_core::service::{self, Build, FileSource};
use cutover_runtime::spec::Ulimit;

use super::{provision, steps};
use crate::failure::{Context, Failure, Kind, Outcome};

/// Reads a secret, by its id for messages.
type Read<'a> = &'a dyn Fn(&str, &FileSource) -> Outcome<Vec<u8>>;

pub(crate) fn apply(options: &mut BuildOptions, wanted: &Build, read: Read<'_>) -> Outcome {
    for (name, address) in &wanted.extra_hosts {
        if address == "host-gateway" {
            let text = format!("`{name}`: `host-gateway` is not known in a build");
            return Err(Failure::msg(Kind::Config, text));
        }
        let address = address.parse().kind(Kind::Config)?;
        options.extra_hosts.push(ExtraHost { name: name.clone(), address });
    }
    options.platform = platform(&wanted.platforms, &options.host_platform)?;
    for (id, from) in &wanted.secrets {
        let content = read(id, from)?;
        if content.len() as u64 > steps::MAX_SECRET {
            let text = format!("build secret `{id}` is longer than 500 KiB");
            return Err(Failure::msg(Kind::Config, text));
        }
        options.secrets.insert(id.clone(), Secret(content));
    }
    for (name, socket) in &wanted.ssh {
        let text = match socket {
            Some(socket) => format!("{name}={socket}"),
            None => name.clone(),
        };
        let (id, socket) = steps::agent(&text, &|name| std::env::var_os(name))?;
        options.ssh.insert(id, socket);
    }
    options.shm_size = wanted.shm_size;
    options.limits.ulimits.extend(wanted.ulimits.iter().map(|(name, limit)| Ulimit {
        name: name.clone(),
        // -1 is no limit.
        soft: u64::try_from(limit.soft).unwrap_or(u64::MAX),
        hard: u64::try_from(limit.hard).unwrap_or(u64::MAX),
    }));
    options.allow.extend(wanted.entitlements.iter().map(|right| match right {
        service::Entitlement::NetworkHost => Entitlement::HostNetwork,
        service::Entitlement::SecurityInsecure => Entitlement::Insecure,
    }));
    // Who gives every step the host's network has allowed it.
    if options.network == Network::Host {
        options.allow.insert(Entitlement::HostNetwork);
    }
    if let Some(asked) = &wanted.provision {
        let steps = asked.steps.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        let steps = steps.kind(Kind::Config)?;
        let asked = provision::provisioning(asked.from.clone(), steps, asked.changes.clone());
        options.dockerfile = DockerfileSource::Provision(asked.kind(Kind::Config)?);
    }
    Ok(())
}

/// The platform to build for: a service runs here, so of several it is this machine's.
fn platform(wanted: &[String], host: &Platform) -> Outcome<Option<Platform>> {
    let platforms = wanted.iter().map(|text| super::platform(text));
    let platforms = platforms.collect::<Outcome<Vec<_>>>()?;
    if platforms.len() < 2 {
        return Ok(platforms.into_iter().next());
    }
    let fits = |one: &Platform| one.os == host.os && one.architecture == host.architecture;
    match platforms.into_iter().find(fits) {
        Some(one) => Ok(Some(one)),
        None => {
            let text = format!("none of `{}` is this machine's platform", wanted.join("`, `"));
            Err(Failure::msg(Kind::Config, text)
                .hint("add it, or build and push the image with `cutover build --platform`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_platforms_this_machine_s() {
        let host = Platform::new("linux", "amd64");
        let check = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|text| (*text).to_owned()).collect();
            platform(&wanted, &host).map(|found| found.map(|one| one.architecture))
        };
        assert_eq!(check(&[]).unwrap(), None);
        assert_eq!(check(&["linux/arm64"]).unwrap().as_deref(), Some("arm64"));
        assert_eq!(check(&["linux/arm64", "linux/amd64"]).unwrap().as_deref(), Some("amd64"));
        assert!(check(&["linux/arm64", "linux/riscv64"]).is_err());
    }
}
