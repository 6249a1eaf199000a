//! Verification of an address without a route.

use std::time::Duration;

use cutover_core::service::HttpCheck;
use cutover_proxy::control::{ProbeResult, ProbeSpec, ServiceOptions};

use crate::backend::Backend;
use crate::rig::Rig;

fn probe(addr: std::net::SocketAddr, check: HttpCheck) -> ProbeResult {
    let rig = Rig::new();
    let options = ServiceOptions::default();
    let spec = ProbeSpec { addr, id: "i7".into(), options, checks: vec![check] };
    rig.client().probe(spec).unwrap().remove(0)
}

#[test]
fn a_probe_tells_what_it_saw() {
    let echo = Backend::echo();
    let check = HttpCheck {
        path: "/up?x=1".into(),
        host: Some("shop.example.org".into()),
        headers: [("X-Check".to_owned(), "1".to_owned())].into_iter().collect(),
        body_contains: Some("x-check: 1".into()),
        ..HttpCheck::default()
    };
    let result = probe(echo.addr, check);
    assert!(result.passed, "{result:?}");
    assert_eq!((result.status, result.reason), (200, None));
    // The request took the path of all requests.
    for line in ["GET /up?x=1", "host: shop.example.org", "x-forwarded-proto: http"] {
        assert!(result.body.contains(line), "{}", result.body);
    }
    assert!(result.headers.iter().any(|(name, _)| name == "content-length"));
    assert!(result.to_head <= result.total && result.total > Duration::ZERO);
}

#[test]
fn a_probe_that_fails_says_why() {
    let failing = Backend::start(|exchange| {
        let body = "x".repeat(5000);
        let length = body.len();
        exchange.write(&format!(
            "HTTP/1.1 500 Broken\r\nContent-Length: {length}\r\nX-Why: db\r\n\r\n{body}"
        ))
    });
    let result = probe(failing.addr, HttpCheck { path: "/up".into(), ..HttpCheck::default() });
    assert_eq!(result.reason.as_deref(), Some("GET /up answered 500 (wanted 200-299)"));
    assert!(result.headers.contains(&("x-why".into(), "db".into())));
    assert_eq!((result.body.len(), result.body_bytes), (1024, 5000));

    let other = Backend::saying("hello");
    let check = HttpCheck { body_contains: Some("bye".into()), ..HttpCheck::default() };
    let reason = probe(other.addr, check).reason.unwrap();
    assert_eq!(reason, "GET / answered 200, but its body does not contain `bye`");

    let gone = Backend::saying("").addr;
    let result = probe(gone, HttpCheck::default());
    assert_eq!(result.status, 0);
    let reason = result.reason.unwrap();
    assert!(reason.starts_with("GET / instance `i7`"), "{reason}");
    assert!(reason.contains("cannot be reached"), "{reason}");
}

#[test]
fn a_probe_does_not_wait_for_ever() {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = Backend::start(move |exchange| {
        exchange.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")?;
        wait.lock().unwrap().recv().ok();
        Ok(())
    });
    let timeout = Duration::from_millis(100);
    let result = probe(slow.addr, HttpCheck { timeout, ..HttpCheck::default() });
    assert_eq!(result.reason.as_deref(), Some("GET / did not answer within 100ms"));
    assert_eq!((result.status, result.body.as_str()), (200, "half"));
    drop(done);
}
