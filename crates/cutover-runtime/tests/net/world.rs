//! Namespaces that play a host, containers and the outside.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use cutover_runtime::net::{
    Attached, Cidr, Endpoint, Network, NetworkConfig, Networks, Protocol, Publish,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use tempfile::TempDir;

/// The host's and its neighbour's addresses on their link (TEST-NET-1), and one far away
/// (TEST-NET-2).
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const PATIENCE: Duration = Duration::from_millis(400);

/// The calling thread becomes a host: alone in a fresh network namespace.
pub(crate) struct Host {
    pub(crate) networks: Networks,
    pub(crate) root: TempDir,
    pub(crate) bridge: Network,
}

impl Host {
    pub(crate) fn new() -> Self {
        leave();
        run("ip", "link set lo up");
        let root = TempDir::new().unwrap();
        let networks = Networks::open(root.path(), &root.path().join("run")).unwrap();
        let bridge = networks.ensure(&NetworkConfig::named("bridge")).unwrap();
        Self { networks, root, bridge }
    }

    /// A second set of networks on the same host.
    pub(crate) fn other_root(&self) -> (Networks, TempDir) {
        let root = TempDir::new().unwrap();
        (Networks::open(root.path(), &root.path().join("run")).unwrap(), root)
    }

    /// A neighbour on the host's only link, which is also its way to everywhere.
    pub(crate) fn outside(&self) -> Ns {
        let outside = Ns::new();
        let host = rustix::thread::gettid().as_raw_nonzero();
        outside.enter(|| {
            run("ip", &format!("link add eth0 type veth peer name up0 netns {host}"));
            run("ip", "link set lo up");
            run("ip", "link set eth0 up");
            run("ip", &format!("addr add {NEIGHBOUR}/24 dev eth0"));
            run("ip", &format!("addr add {FAR}/32 dev lo"));
        });
        run("ip", "link set up0 up");
        run("ip", &format!("addr add {HOST}/24 dev up0"));
        run("ip", &format!("route add default via {NEIGHBOUR}"));
        // the kernel notices carriers later, and drops packets until then
        eventually("the host's link is up", || run("ip", "-br link show up0").contains(" UP "));
        eventually("the neighbour's link is up", || {
            outside.enter(|| run("ip", "-br link show eth0").contains(" UP "))
        });
        outside
    }

    /// A container on the default network with these ports published.
    pub(crate) fn container(&self, id: &str, ports: &[Publish]) -> Container {
        Container::on(&self.networks, &self.bridge, id, ports)
    }

    pub(crate) fn network(&self, config: NetworkConfig) -> Network {
        self.networks.ensure(&config).unwrap()
    }
}

pub(crate) struct Container {
    pub(crate) ns: Ns,
    pub(crate) attached: Attached,
}

impl Container {
    pub(crate) fn on(networks: &Networks, network: &Network, id: &str, ports: &[Publish]) -> Self {
        let ns = Ns::new();
        let endpoint = Endpoint { ports: ports.to_vec(), ..endpoint(id) };
        let attached = networks.attach(network, ns.fd(), &endpoint).unwrap();
        Self { ns, attached }
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.attached.ip
    }

    pub(crate) fn host_port(&self) -> u16 {
        self.attached.ports[0].host_port
    }

    /// Says `id` and the caller's address to whoever connects to `port`.
    pub(crate) fn serve(&self, port: u16) -> Server {
        self.ns.serve(port, &self.attached.container_id)
    }
}

pub(crate) fn endpoint(id: &str) -> Endpoint {
    Endpoint { container_id: id.to_owned(), hostname: id.to_owned(), ..Endpoint::default() }
}

pub(crate) fn tcp(host_port: u16, container_port: u16) -> Publish {
    Publish { host_ip: None, host_port, container_port, protocol: Protocol::Tcp }
}

pub(crate) fn on(ip: [u8; 4], publish: Publish) -> Publish {
    Publish { host_ip: Some(IpAddr::from(ip)), ..publish }
}

/// A network namespace.
#[derive(Clone)]
pub(crate) struct Ns(Arc<OwnedFd>);

impl Ns {
    pub(crate) fn new() -> Self {
        let make = || {
            leave();
            fs_err::File::open("/proc/thread-self/ns/net").unwrap()
        };
        let file = std::thread::spawn(make).join().unwrap();
        Self(Arc::new(file.into_parts().0.into()))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Runs `work` inside, on a thread of its own.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            move_into_link_name_space(self.fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    pub(crate) fn serve(&self, port: u16, name: &str) -> Server {
        let listener = self.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        Server::start(listener, name)
    }

    /// Answers each datagram with `name` and the sender's address.
    pub(crate) fn serve_udp(&self, port: u16, name: &str) -> Server {
        let socket = self.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        Server::start_udp(socket, name)
    }

    pub(crate) fn ask(&self, address: Ipv4Addr, port: u16) -> String {
        self.enter(|| ask(address, port))
    }

    pub(crate) fn ping(&self, address: Ipv4Addr) -> bool {
        self.enter(|| ping(address))
    }
}

/// What a server at `address` says; else `refused` or `silent`.
pub(crate) fn ask(address: Ipv4Addr, port: u16) -> String {
    let address = SocketAddr::from((address, port));
    let mut stream = match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(stream) => stream,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return "refused".to_owned();
        }
        Err(_) => return "silent".to_owned(),
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => answer,
        Err(_) => "connected, then silent".to_owned(),
    }
}

pub(crate) fn ask_udp(socket: &UdpSocket, address: Ipv4Addr, port: u16) -> String {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 200];
    let asked = socket.send_to(b"?", (address, port));
    match asked.and_then(|_| socket.recv_from(&mut buffer)) {
        Ok((length, _)) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => "refused".to_owned(),
        Err(_) => "silent".to_owned(),
    }
}

/// One echo request by a ping socket, which needs no capability but `ping_group_range`.
pub(crate) fn ping(address: Ipv4Addr) -> bool {
    let icmp = Some(rustix::net::ipproto::ICMP);
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, icmp).unwrap();
    let timeout = rustix::net::sockopt::Timeout::Recv;
    rustix::net::sockopt::set_socket_timeout(&socket, timeout, Some(PATIENCE)).unwrap();
    let echo = [8, 0, 0, 0, 0, 0, 0, 1];
    let to = SocketAddrV4::new(address, 0);
    let sent = rustix::net::sendto(&socket, &echo, SendFlags::empty(), &to);
    let mut buffer = [0u8; 64];
    sent.is_ok() && rustix::net::recv(&socket, buffer.as_mut_slice(), RecvFlags::empty()).is_ok()
}

/// Answers until dropped.
pub(crate) struct Server {
    socket: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(listener: TcpListener, name: &str) -> Self {
        let socket = listener.as_fd().try_clone_to_owned().unwrap();
        let name = name.to_owned();
        let serve = move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                write!(stream, "{name} {}", peer.ip()).ok();
            }
        };
        Self { socket, thread: Some(std::thread::spawn(serve)) }
    }

    fn start_udp(server: UdpSocket, name: &str) -> Self {
        let socket = server.as_fd().try_clone_to_owned().unwrap();
        let name = name.to_owned();
        let serve = move || {
            let mut buffer = [0; 64];
            while let Ok((length @ 1.., peer)) = server.recv_from(&mut buffer) {
                let answer = format!("{name} {}", peer.ip());
                assert_eq!(length, 1);
                server.send_to(answer.as_bytes(), peer).ok();
            }
        };
        Self { socket, thread: Some(std::thread::spawn(serve)) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // ends the blocked call, for UDP too although it reports that there is no connection
        let _: Result<(), _> = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Runs a program in the calling thread's namespace and returns its output.
pub(crate) fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn sysctl(key: &str, value: &str) {
    fs_err::write(format!("/proc/sys/{key}"), value).unwrap();
}

/// Waits for what the kernel does later by itself, at most 10 s.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what}: not within 10 s");
}

pub(crate) fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// Moves the calling thread to a fresh network namespace.
#[expect(deprecated, reason = "its successor is unsafe, for flags that are not used here")]
fn leave() {
    rustix::thread::unshare(UnshareFlags::NEWNET).unwrap();
    // the tests ping from anywhere; a container gets a wider range by being attached
    sysctl("net/ipv4/ping_group_range", "0 0");
}
