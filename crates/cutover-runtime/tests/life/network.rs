//! Containers on networks.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use cutover_runtime::container::{NetworkMode, Port, Protocol};

use crate::tests;
use crate::world::{World, await_line, exec};

tests![network: published_port, hosts_entry, shared];

fn published_port() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("echo ready; nc -l -p 80 -e echo hello");
    options.network = NetworkMode::default();
    options.publish =
        vec![Port { host_ip: None, host_port: 0, container_port: 80, protocol: Protocol::Tcp }];
    let container = world.start(options);
    await_line(&container, "ready");
    let state = container.state().unwrap();
    let port = state.ports[0].host_port;
    assert_ne!(port, 0, "the choice is shown");
    let mut text = String::new();
    // The script says `ready` just before it listens.
    while text.is_empty() {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            drop(stream.write_all(b"\n"));
            drop(stream.read_to_string(&mut text));
        }
    }
    assert_eq!(text, "hello\n");
    container.wait().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

fn hosts_entry() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("echo ready; sleep 1000");
    options.network = NetworkMode::default();
    options.hostname = Some("box".to_owned());
    options.extra_hosts = vec![("gate".to_owned(), None)];
    let container = world.start(options);
    let address = container.state().unwrap().addresses.remove(0);
    let hosts = exec(&container, "cat /etc/hosts; ip addr show eth0").stdout;
    assert!(hosts.contains(&format!("{}\tbox\n", address.ip)), "{hosts}");
    assert!(hosts.contains(&format!("{}\tgate\n", address.gateway.unwrap())), "{hosts}");
    assert!(hosts.contains(&format!("inet {}/{}", address.ip, address.prefix)), "{hosts}");
}

fn shared() {
    let Some(world) = World::new() else { return };
    let first = world.start(world.options("echo ready; sleep 1000"));
    let mut options = world.options("ls -l /proc/self/ns/net");
    options.network = NetworkMode::Container(first.id().to_string());
    let inside = exec(&first, "ls -l /proc/self/ns/net").stdout;
    let output = world.run(options);
    let of = |text: &str| text.split("net:").nth(1).map(str::to_owned);
    assert_eq!(of(&output.stdout), of(&inside), "{output:?}");
}
