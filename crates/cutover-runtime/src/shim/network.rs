//! [`Leases`]: the container's places on networks, from start to end.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::launch::{Failure, chain};
use crate::container::paths::Places;
use crate::container::{
    Address, Attachment, ContainerConfig, NetworkMode, Port, Protocol, clock, files,
};
use crate::net::{
    self, Attached, Endpoint, Holder, NetError, Network, NetworkConfig, Networks, Publish,
};

/// A container that has just ended gives its ports up some milliseconds after it said so.
const PORT_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Leases {
    places: Places,
    /// Opened when first needed: a container without a network pays nothing.
    networks: Option<Networks>,
    attached: Vec<Attached>,
}

impl Leases {
    pub(super) fn new(places: &Places) -> Self {
        Self { places: places.clone(), networks: None, attached: Vec::new() }
    }

    /// Connects a container that was made and does not run yet. On an error, what was attached is
    /// still to be released.
    pub(super) fn attach(
        &mut self,
        config: &ContainerConfig,
        netns: BorrowedFd<'_>,
    ) -> Result<(Vec<Address>, Vec<Port>), Failure> {
        match &config.network {
            NetworkMode::Host | NetworkMode::Container(_) => Ok(Default::default()),
            NetworkMode::None => {
                net::loopback_up(netns).map_err(|error| Failure::ours(&error))?;
                Ok(Default::default())
            }
            NetworkMode::Networks(wanted) => {
                self.attach_all(config, wanted, netns).map_err(|error| Failure::ours(&error))
            }
        }
    }

    fn attach_all(
        &mut self,
        config: &ContainerConfig,
        wanted: &[Attachment],
        netns: BorrowedFd<'_>,
    ) -> Result<(Vec<Address>, Vec<Port>), NetError> {
        let mut addresses = Vec::new();
        let mut ports = Vec::new();
        for (at, attachment) in wanted.iter().enumerate() {
            let endpoint = endpoint(config, attachment, at == 0);
            let attached = self.attach_one(&attachment.network, netns, &endpoint)?;
            addresses.push(Address {
                network: attached.network.clone(),
                ip: attached.ip,
                prefix: attached.prefix,
                gateway: Some(attached.gateway),
                mac: attached.mac.to_string(),
            });
            ports.extend(attached.ports.iter().map(|port| Port {
                host_ip: Some(IpAddr::V4(port.host_ip)),
                host_port: port.host_port,
                container_port: port.container_port,
                protocol: match port.protocol {
                    net::Protocol::Tcp => Protocol::Tcp,
                    net::Protocol::Udp => Protocol::Udp,
                },
            }));
            self.attached.push(attached);
        }
        Ok((addresses, ports))
    }

    fn attach_one(
        &mut self,
        network: &str,
        netns: BorrowedFd<'_>,
        endpoint: &Endpoint,
    ) -> Result<Attached, NetError> {
        let places = self.places.clone();
        let networks = self.open()?;
        let network = ensure(networks, network)?;
        let end = clock::monotonic() + PORT_PATIENCE;
        loop {
            match networks.attach(&network, netns, endpoint) {
                Err(NetError::PortTaken { holder, .. })
                    if clock::monotonic() < end && is_leaving(&places, &holder) =>
                {
                    std::thread::sleep(Duration::from_millis(5));
                }
                result => return result,
            }
        }
    }

    fn open(&mut self) -> Result<&Networks, NetError> {
        if self.networks.is_none() {
            self.networks = Some(Networks::open(&self.places.root, &self.places.run)?);
        }
        Ok(self.networks.as_ref().expect("opened above"))
    }

    /// Gives everything up; goes on after an error, and hands all of them back.
    pub(super) fn release(&mut self) -> Vec<String> {
        let Some(networks) = &self.networks else { return Vec::new() };
        let released = self.attached.drain(..).map(|attached| networks.release(attached));
        released.filter_map(Result::err).map(|error| chain(&error)).collect()
    }
}

/// The default network is made when it is first used; any other one was made by somebody.
fn ensure(networks: &Networks, name: &str) -> Result<Network, NetError> {
    let known = networks.list()?.into_iter().find(|network| network.name == name);
    let config = match known {
        Some(network) => NetworkConfig {
            subnet: Some(network.subnet),
            internal: network.internal,
            ..NetworkConfig::named(name)
        },
        None if name == net::DEFAULT_NETWORK => NetworkConfig::named(name),
        // Says that it is missing, and which ones there are.
        None => return networks.inspect(name).map(|(network, _)| network),
    };
    networks.ensure(&config)
}

fn endpoint(config: &ContainerConfig, attachment: &Attachment, is_first: bool) -> Endpoint {
    let publish = |port: &Port| Publish {
        host_ip: port.host_ip,
        host_port: port.host_port,
        container_port: port.container_port,
        protocol: match port.protocol {
            Protocol::Tcp => net::Protocol::Tcp,
            Protocol::Udp => net::Protocol::Udp,
        },
    };
    let mut aliases = attachment.aliases.clone();
    aliases.push(config.name.clone());
    Endpoint {
        container_id: config.id.to_string(),
        hostname: config.hostname.clone().unwrap_or_else(|| config.id.short().to_owned()),
        aliases,
        ports: if is_first { config.ports.iter().map(publish).collect() } else { Vec::new() },
        ip: attachment.ip,
    }
}

/// Whether a port is held by a container that has ended, whose shim is about to let go of it.
fn is_leaving(places: &Places, holder: &Holder) -> bool {
    match holder {
        Holder::Container(id) => id.parse().is_ok_and(|id| {
            let state = files::read_state(&places.container(&id).state());
            state.map_or(true, |state| !state.status.is_live())
        }),
        // Its lease is gone already, but not the socket that reserved the port.
        Holder::Process { pid, .. } => {
            let args = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            args.split(|byte| *byte == 0).nth(1) == Some(b"shim")
        }
        // It was gone before it could be looked up.
        Holder::Unknown => true,
    }
}
