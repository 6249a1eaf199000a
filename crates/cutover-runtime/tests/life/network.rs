//! Containers on networks.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use cutover_runtime::container::{NetworkMode, Port, Protocol};

use crate::tests;
use crate::world::{World, await_line, await_state, exec};

tests![network: published_port, port_again, many_at_once, hosts_entry, shared];

fn published_port() {
    let Some(world) = World::new() else { return };
    let mut options = world.options("echo ready; nc -l -p 80 -e echo hello");
    options.network = NetworkMode::default();
    options.publish = publish(0);
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
    // Given up just after the exit was reported.
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        std::thread::yield_now();
    }
}

fn publish(host_port: u16) -> Vec<Port> {
    vec![Port { host_ip: None, host_port, container_port: 80, protocol: Protocol::Tcp }]
}

/// A port is given up a moment after its container's exit was reported: the next one waits for that.
fn port_again() {
    let Some(world) = World::new() else { return };
    let mut port = 0;
    for _ in 0..4 {
        let mut options = world.options("true");
        options.network = NetworkMode::default();
        options.publish = publish(port);
        let container = world.start(options);
        let state = await_state(&world, &container, |state| !state.ports.is_empty());
        port = state.ports[0].host_port;
        container.wait().unwrap();
    }
    let mut options = world.options("sleep 1000");
    options.network = NetworkMode::default();
    options.publish = publish(port);
    let holder = world.start(options.clone());
    options.id = crate::world::random_id().parse().unwrap();
    let second = world.create(options);
    let error = second.start().unwrap_err().to_string();
    assert!(error.contains(&port.to_string()) && error.contains(holder.id().short()), "{error}");
    assert_eq!(second.state().unwrap().exit_code(), 125);
}

fn many_at_once() {
    let Some(world) = World::new() else { return };
    std::thread::scope(|scope| {
        let run = |n: i32| {
            let mut options = world.options(&format!("exit {n}"));
            options.network = NetworkMode::default();
            options.auto_remove = true;
            assert_eq!(world.run(options).code(), n);
        };
        for n in 0..12 {
            scope.spawn(move || run(n));
        }
    });
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
