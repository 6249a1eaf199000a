//! One request: choose, send, answer.
//!
//! Reads top to bottom as what happens. The request is registered on its target before anything is
//! sent ([`crate::table`]) and stays registered until its response body has been dropped.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};

use crate::body::{RequestBody, ResponseBody};
use crate::gate::Turned;
use crate::head::{self, Origin};
use crate::pages::Page;
use crate::table::{Choice, Service};
use crate::target::{Flight, Target};
use crate::tunnel;
use crate::upstream::{self, Lease};
use crate::worker::{Conn, Verdict, Worker};

/// How a connection's requests find their target.
#[derive(Debug)]
pub(crate) enum Pick {
    /// By the routes in force.
    Routes,
    /// Always this one: a probe of an address without a route.
    Fixed(Arc<Service>, Arc<Target>),
}

/// A request with its place.
struct Placed {
    service: Arc<Service>,
    flight: Flight,
    strip: usize,
}

pub(crate) async fn handle(
    worker: Rc<Worker>,
    conn: Rc<Conn>,
    pick: Rc<Pick>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    conn.begin();
    let (parts, body) = request.into_parts();
    let log = Logged::new(&worker, &parts);
    let response = match exchange(&worker, &conn, &pick, parts, body).await {
        Ok(response) => response,
        Err(page) => {
            let mut response = page.into_response();
            head::to_client(response.headers_mut(), false, worker.is_lame());
            response.map(|text| ResponseBody::text(text, &conn))
        }
    };
    log.inspect(|log| log.write(&conn, response.status()));
    Ok(response)
}

async fn exchange(
    worker: &Rc<Worker>,
    conn: &Rc<Conn>,
    pick: &Pick,
    mut parts: Parts,
    body: Incoming,
) -> Result<Response<ResponseBody>, Page> {
    // A request that is refused here leaves its body unread.
    conn.unread.set(!body.is_end_stream());
    let placed = place(worker, pick, &parts).await.inspect_err(|_| {
        worker.hub.rejected.fetch_add(1, Ordering::Relaxed);
    })?;
    let Placed { service, flight, strip } = placed;
    let trust_forwarded = service.spec.options.trust_forwarded;
    let origin = Origin { peer: &conn.peer, trust_forwarded };
    let upgrade = head::to_target(&mut parts, strip, &origin, || worker.request_id());
    if !parts.headers.contains_key(header::HOST) {
        // HTTP/1.0 can do without; what the target gets is HTTP/1.1.
        let host = HeaderValue::try_from(flight.target().addr.to_string());
        parts.headers.insert(header::HOST, host.expect("an address is a header value"));
    }
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // hyper would send a GET without its body.
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut request = Request::from_parts(parts, RequestBody::new(body, conn));
    let client = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    Send { worker, conn, service: &service }.send(request, flight, client).await
}

/// Finds the request's target and registers the request there; may wait at a gate.
async fn place(worker: &Worker, pick: &Pick, parts: &Parts) -> Result<Placed, Page> {
    head::acceptable(parts)?;
    let host = head::host(parts)?;
    if let Pick::Fixed(service, target) = pick {
        let (service, flight) = (Arc::clone(service), Flight::begin(target));
        return Ok(Placed { service, flight, strip: 0 });
    }
    let path = parts.uri.path();
    loop {
        match worker.hub.registry.shared.choose(&host, path) {
            Choice::Go { service, flight, strip } => return Ok(Placed { service, flight, strip }),
            Choice::NoTarget { service } => return Err(Page::no_target(&service.spec.service)),
            Choice::NoRoute if worker.hub.registry.is_lost() => return Err(Page::routes_lost()),
            Choice::NoRoute => return Err(Page::no_route(&host, path)),
            Choice::Wait { service, gate } => Box::pin(gate.wait()).await.map_err(|turned| {
                let why = match turned {
                    Turned::Full => format!("{} requests already wait for it", gate.limit),
                    Turned::TimedOut => format!("is not ready after {:?}", gate.timeout),
                };
                Page::held(&service.spec.service, &why)
            })?,
        }
    }
}

/// How an attempt to send ended without a response.
enum Failed {
    /// Nothing was written: the request can go anywhere.
    Unsent(Box<Request<RequestBody>>, String),
    /// The target may have seen it.
    Lost(String),
    Judged(Verdict),
}

/// The exchange with targets: attempts, at most three, of which only those count where the target
/// can have seen the request.
struct Send<'a> {
    worker: &'a Rc<Worker>,
    conn: &'a Rc<Conn>,
    service: &'a Arc<Service>,
}

impl Send<'_> {
    async fn send(
        self,
        mut request: Request<RequestBody>,
        mut flight: Flight,
        client: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Page> {
        let repeatable = request.body().is_empty() && is_idempotent(request.method());
        let options = &self.service.spec.options;
        let start = Instant::now();
        let mut pooled = true;
        for attempt in 1.. {
            let serial = flight.target().serial;
            self.conn.wait_for(serial, options.response_timeout, start);
            let reused = if pooled {
                self.worker.pool.take(serial, self.worker.now(), repeatable)
            } else {
                None
            };
            let was_reused = reused.is_some();
            // Only a connection that was used before can be stale; only then a copy is worth it.
            let spare = (was_reused && repeatable).then(|| copy_of(&request));
            match self.attempt(reused, request, &flight).await {
                Ok((response, lease)) => {
                    flight.target().stats.answered(response.status().as_u16(), start.elapsed());
                    return self.answer(response, lease, flight, client);
                }
                Err(Failed::Unsent(returned, _)) if was_reused => {
                    request = *returned;
                    pooled = false;
                }
                Err(Failed::Unsent(returned, why)) => {
                    flight.target().stats.failed();
                    let Some(other) = self.another(&flight).filter(|_| attempt < 3) else {
                        return Err(Page::bad_gateway(flight.target(), &why));
                    };
                    request = *returned;
                    flight = other;
                    pooled = true;
                }
                Err(Failed::Lost(_)) if self.conn.broken.get() => return Err(Page::broken_body()),
                Err(Failed::Lost(why)) => match spare {
                    Some(spare) => {
                        request = spare;
                        pooled = false;
                    }
                    None => {
                        flight.target().stats.failed();
                        return Err(Page::bad_gateway(flight.target(), &why));
                    }
                },
                Err(Failed::Judged(verdict)) => {
                    flight.target().stats.failed();
                    return Err(timed_out(flight.target(), verdict, self.service));
                }
            }
        }
        unreachable!("the third attempt ends the loop")
    }

    /// One attempt over a pooled connection, or over a new one.
    async fn attempt(
        &self,
        reused: Option<upstream::Sender>,
        request: Request<RequestBody>,
        flight: &Flight,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        let target = flight.target();
        let mut sender = match reused {
            Some(sender) => sender,
            None => {
                let timeout = self.service.spec.options.connect_timeout;
                let connecting = Box::pin(upstream::connect(target, timeout));
                match self.conn.judged(connecting).await.map_err(Failed::Judged)? {
                    Ok(sender) => sender,
                    Err(error) => {
                        let why = format!("cannot be reached at {}: {error}", target.addr);
                        return Err(Failed::Unsent(Box::new(request), why));
                    }
                }
            }
        };
        match self.conn.judged(sender.try_send_request(request)).await.map_err(Failed::Judged)? {
            Ok(response) => {
                let worker = Rc::clone(self.worker);
                Ok((response, Lease { sender, serial: target.serial, worker }))
            }
            Err(mut error) => match error.take_message() {
                Some(request) => {
                    let why = "closed the connection before the request could be sent";
                    Err(Failed::Unsent(Box::new(request), why.to_owned()))
                }
                None => {
                    let why = crate::registry::chain(error.error());
                    Err(Failed::Lost(format!("did not answer the request: {why}")))
                }
            },
        }
    }

    /// Another target of the service as it is now.
    fn another(&self, failed: &Flight) -> Option<Flight> {
        let serial = failed.target().serial;
        let shared = &self.worker.hub.registry.shared;
        match shared.choose_again(&self.service.spec.service, 0, Some(serial)) {
            Choice::Go { flight, .. } if flight.target().serial != serial => Some(flight),
            _ => None,
        }
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        lease: Lease,
        flight: Flight,
        client: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Page> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.upgrade(response, lease, flight, client);
        }
        let (mut head, body) = response.into_parts();
        head::to_client(&mut head.headers, false, self.worker.is_lame());
        head.version = Version::HTTP_11;
        self.conn.stream(self.service.spec.options.idle_timeout, self.worker.now());
        let body = ResponseBody::target(body, lease, flight, self.conn);
        Ok(Response::from_parts(head, body))
    }

    fn upgrade(
        &self,
        mut response: Response<Incoming>,
        lease: Lease,
        flight: Flight,
        client: Option<OnUpgrade>,
    ) -> Result<Response<ResponseBody>, Page> {
        let Some(client) = client else {
            let why = "switched protocols without being asked to";
            return Err(Page::bad_gateway(flight.target(), why));
        };
        let target = hyper::upgrade::on(&mut response);
        lease.sender.upgraded();
        tunnel::start(self.worker, client, target, flight);
        let (mut head, _) = response.into_parts();
        head::to_client(&mut head.headers, true, false);
        head.version = Version::HTTP_11;
        Ok(Response::from_parts(head, ResponseBody::text(Bytes::new(), self.conn)))
    }
}

fn timed_out(target: &Target, verdict: Verdict, service: &Service) -> Page {
    let limit = service.spec.options.response_timeout;
    match verdict {
        Verdict::TimedOut => {
            Page::gateway_timeout(target, &format!("did not answer within {limit:?}"))
        }
        Verdict::Cut => {
            let why = "is being retired and did not answer before its drain deadline";
            Page::gateway_timeout(target, why)
        }
    }
}

/// Whether sending twice means no more than sending once (RFC 9110, 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

/// The same request, which has no body.
fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// A line of the access log in the making.
struct Logged {
    method: Method,
    host: String,
    path: String,
    start: Instant,
}

impl Logged {
    fn new(worker: &Worker, parts: &Parts) -> Option<Self> {
        if !worker.hub.access_log {
            return None;
        }
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        Some(Self {
            method: parts.method.clone(),
            host: host.unwrap_or_default().to_owned(),
            path: parts.uri.path().to_owned(),
            start: Instant::now(),
        })
    }

    fn write(&self, conn: &Conn, status: StatusCode) {
        let (method, host, path) = (self.method.as_str(), &*self.host, &*self.path);
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let peer = conn.peer.to_str().unwrap_or_default();
        let status = status.as_u16();
        tracing::info!(target: "cutover_proxy::access", peer, method, host, path, status, micros);
    }
}
