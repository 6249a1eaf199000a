//! Sockets and tasks of the DNS server, kept in step with the networks in force.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

use super::answer::{self, Answer, Zone};
use super::forward::{self, Resolvers};
use crate::control::{ListenerInfo, ListenerKind, NetworkNames};
use crate::listen::{self, HeldListener};
use crate::registry::Registry;

/// How often an address that could not be bound is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How long a TCP client may be silent.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Questions being forwarded, and TCP clients, at once; more are turned away.
const MAX_FORWARDED: usize = 256;
const MAX_TCP: usize = 128;

/// The server; lives on the control thread.
#[derive(Debug)]
pub(crate) struct Dns {
    resolvers: Resolvers,
    sockets: RefCell<HashMap<(ListenerKind, SocketAddr), Served>>,
    /// Sockets received from another process for addresses not yet asked for.
    adopted: RefCell<Vec<HeldListener>>,
    /// Told when a socket was adopted: an address that was taken may have been taken by it.
    more: Notify,
    forwarding: Arc<Semaphore>,
    tcp_clients: Arc<Semaphore>,
    turn: Cell<usize>,
    stopped: Cell<bool>,
}

/// A socket in use. Its names can change under it.
#[derive(Debug)]
struct Served {
    held: HeldListener,
    zone: Rc<RefCell<Rc<Zone>>>,
    task: AbortHandle,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Dns {
    pub(crate) fn new(resolvers: Resolvers) -> Rc<Self> {
        Rc::new(Self {
            resolvers,
            sockets: RefCell::default(),
            adopted: RefCell::default(),
            more: Notify::new(),
            forwarding: Arc::new(Semaphore::new(MAX_FORWARDED)),
            tcp_clients: Arc::new(Semaphore::new(MAX_TCP)),
            turn: Cell::new(0),
            stopped: Cell::new(false),
        })
    }

    /// Follows the networks in force; never returns.
    pub(crate) async fn run(self: Rc<Self>, registry: Arc<Registry>) {
        let mut networks = registry.networks.subscribe();
        loop {
            let wanted = Arc::clone(&networks.borrow_and_update());
            let complete = self.apply(wanted.values());
            tokio::select! {
                changed = networks.changed() => if changed.is_err() { return },
                () = self.more.notified() => {}
                () = tokio::time::sleep(RETRY), if !complete => {}
            }
        }
    }

    /// A socket from another process: used when (or if) its address is asked for.
    pub(crate) fn adopt(&self, listener: HeldListener) -> io::Result<()> {
        // Proves early that it is what it says.
        listen::udp(&listener.socket)?;
        self.adopted.borrow_mut().push(listener);
        self.more.notify_one();
        Ok(())
    }

    pub(crate) fn listeners(&self) -> Vec<ListenerInfo> {
        let sockets = self.sockets.borrow();
        let mut infos: Vec<_> = sockets.values().map(|served| served.held.info.clone()).collect();
        infos.sort_by_key(|info| (info.addr, info.kind == ListenerKind::DnsTcp));
        infos
    }

    pub(crate) fn duplicates(&self) -> io::Result<Vec<HeldListener>> {
        self.sockets.borrow().values().map(|served| served.held.try_clone()).collect()
    }

    /// Answers no more: another process does.
    pub(crate) fn stop(&self) {
        self.stopped.set(true);
        self.sockets.borrow_mut().clear();
        self.adopted.borrow_mut().clear();
    }

    /// Opens and closes sockets; false when an address could not be bound yet.
    fn apply<'a>(self: &Rc<Self>, networks: impl Iterator<Item = &'a NetworkNames>) -> bool {
        if self.stopped.get() {
            return true;
        }
        let mut old = self.sockets.take();
        let mut new = HashMap::new();
        let mut complete = true;
        for (addr, (network, zone)) in zones(&networks.collect::<Vec<_>>()) {
            for kind in [ListenerKind::DnsUdp, ListenerKind::DnsTcp] {
                let key = (kind, addr);
                if let Some(served) = old.remove(&key) {
                    *served.zone.borrow_mut() = Rc::clone(&zone);
                    new.insert(key, served);
                    continue;
                }
                match self.open(kind, addr, &zone) {
                    Ok(served) => new.extend([(key, served)]),
                    Err(error) => {
                        tracing::warn!(network, error, "cannot answer names yet");
                        complete = false;
                    }
                }
            }
        }
        self.sockets.replace(new);
        complete
    }

    fn open(
        self: &Rc<Self>,
        kind: ListenerKind,
        addr: SocketAddr,
        zone: &Rc<Zone>,
    ) -> Result<Served, String> {
        let wanted = ListenerInfo { kind, addr };
        let mut adopted = self.adopted.borrow_mut();
        let inherited = adopted.iter().position(|held| held.info == wanted);
        let held = match inherited {
            Some(index) => adopted.swap_remove(index),
            None => listen::bind(kind, addr).map_err(|error| crate::registry::chain(&error))?,
        };
        let zone = Rc::new(RefCell::new(Rc::clone(zone)));
        let task = self.spawn(&held, &zone).map_err(|error| error.to_string())?;
        Ok(Served { held, zone, task })
    }

    fn spawn(
        self: &Rc<Self>,
        held: &HeldListener,
        zone: &Rc<RefCell<Rc<Zone>>>,
    ) -> io::Result<AbortHandle> {
        let (this, zone) = (Rc::clone(self), Rc::clone(zone));
        let task = if held.info.kind == ListenerKind::DnsUdp {
            let socket = UdpSocket::from_std(listen::udp(&held.socket)?)?;
            tokio::task::spawn_local(this.serve_udp(Rc::new(socket), zone))
        } else {
            let listener = TcpListener::from_std(listen::tcp(&held.socket)?)?;
            tokio::task::spawn_local(this.serve_tcp(listener, zone))
        };
        Ok(task.abort_handle())
    }

    async fn serve_udp(self: Rc<Self>, socket: Rc<UdpSocket>, zone: Rc<RefCell<Rc<Zone>>>) {
        let mut buffer = vec![0; 4096];
        loop {
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
                // An ICMP error about an earlier answer, say: the next question may be fine.
                tokio::task::yield_now().await;
                continue;
            };
            let question = &buffer[..length];
            match self.look_up(&zone, question, from.ip()) {
                Answer::Silence => {}
                Answer::Reply(message) => {
                    if let Some(bytes) = answer::encode(*message, question, true) {
                        socket.send_to(&bytes, from).await.ok();
                    }
                }
                Answer::Forward(query) => {
                    let (this, socket) = (Rc::clone(&self), Rc::clone(&socket));
                    let question = question.to_vec();
                    tokio::task::spawn_local(async move {
                        if let Some(bytes) = this.forward(&question, &query, true).await {
                            socket.send_to(&bytes, from).await.ok();
                        }
                    });
                }
            }
        }
    }

    async fn serve_tcp(self: Rc<Self>, listener: TcpListener, zone: Rc<RefCell<Rc<Zone>>>) {
        loop {
            let Ok((stream, from)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Ok(place) = Arc::clone(&self.tcp_clients).try_acquire_owned() else { continue };
            let (this, zone) = (Rc::clone(&self), Rc::clone(&zone));
            tokio::task::spawn_local(async move {
                this.serve_stream(stream, from.ip(), &zone).await.ok();
                drop(place);
            });
        }
    }

    async fn serve_stream(
        &self,
        mut stream: TcpStream,
        from: IpAddr,
        zone: &RefCell<Rc<Zone>>,
    ) -> io::Result<()> {
        loop {
            let reading = forward::read_framed(&mut stream);
            let Ok(question) = tokio::time::timeout(TCP_IDLE, reading).await else { return Ok(()) };
            let question = question?;
            let bytes = match self.look_up(zone, &question, from) {
                Answer::Silence => return Ok(()),
                Answer::Reply(message) => answer::encode(*message, &question, false),
                Answer::Forward(query) => self.forward(&question, &query, false).await,
            };
            let Some(bytes) = bytes else { return Ok(()) };
            forward::write_framed(&mut stream, &bytes).await?;
        }
    }

    fn look_up(&self, zone: &RefCell<Rc<Zone>>, question: &[u8], from: IpAddr) -> Answer {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let zone = Rc::clone(&zone.borrow());
        zone.answer(question, from.to_canonical(), turn)
    }

    /// The resolvers' answer, or that there was none.
    async fn forward(
        &self,
        question: &[u8],
        query: &hickory_proto::op::Query,
        udp: bool,
    ) -> Option<Vec<u8>> {
        if let Ok(_place) = self.forwarding.try_acquire()
            && let Some(answer) = self.resolvers.ask(question, query, udp).await
        {
            return Some(answer);
        }
        let question_message = Message::from_vec(question).ok()?;
        let reply = answer::reply(&question_message, ResponseCode::ServFail);
        answer::encode(reply, question, udp)
    }
}

/// What is answered at each address, and a network that is answered there.
fn zones<'a>(networks: &[&'a NetworkNames]) -> BTreeMap<SocketAddr, (&'a str, Rc<Zone>)> {
    let at = |addr: &SocketAddr| -> Vec<&'a NetworkNames> {
        networks.iter().filter(|names| names.listen.contains(addr)).copied().collect()
    };
    let addrs = networks.iter().flat_map(|names| names.listen.iter().map(|addr| (*addr, *names)));
    addrs
        .map(|(addr, names)| {
            let here = at(&addr);
            let others: BTreeSet<SocketAddr> =
                here.iter().flat_map(|names| &names.also).copied().collect();
            let beyond: Vec<_> = others.iter().filter(|also| **also != addr).flat_map(at).collect();
            (addr, (names.network.as_str(), Rc::new(Zone::new(&here, &beyond))))
        })
        .collect()
}
