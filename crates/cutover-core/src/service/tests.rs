//! Services as JSON: what a release keeps must come back the same.

use super::*;
use crate::compose::tests::{parse_text, web};

#[test]
fn everything_survives_json() {
    let project = parse_text(include_str!("../compose/testdata/everything.yaml")).unwrap();
    for service in project.services.values() {
        let json = serde_json::to_string(service).unwrap();
        let back: Service = serde_json::from_str(&json).unwrap();
        assert_eq!(&back, service);
    }
}

#[test]
fn defaults_are_not_written() {
    let json = serde_json::to_value(web("")).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["name", "image", "networks", "deploy"]);
    let empty: Service = serde_json::from_str("{}").unwrap();
    assert_eq!(empty.deploy, Deploy::default());
    assert_eq!(empty.cutover, XCutover::default());
    assert_eq!(empty.stop_grace_period, DEFAULT_STOP_GRACE_PERIOD);
}

#[test]
fn statuses() {
    let check = |text: &str, yes: &[u16], no: &[u16]| {
        let set: StatusSet = text.parse().unwrap();
        assert!(yes.iter().all(|code| set.contains(*code)), "{text}");
        assert!(!no.iter().any(|code| set.contains(*code)), "{text}");
        assert_eq!(set.to_string().parse(), Ok(set), "{text} must round-trip");
    };
    check("200", &[200], &[201, 199]);
    check("200-299,304", &[200, 299, 304], &[300, 303]);
    check("2xx, 404", &[204, 404], &[301]);
    for text in ["", "20", "600", "99", "300-200", "2x", "6xx", "200,", "+200", "0200"] {
        assert!(text.parse::<StatusSet>().is_err(), "{text}");
    }
}
