//! What is on disk when the proxy starts.

use std::time::Duration;

use cutover_proxy::control::TargetState;
use cutover_proxy::start;

use crate::backend::Backend;
use crate::rig::{Rig, eventually, probing, spec};

impl Rig {
    fn restart(&mut self) {
        let mut options = self.options();
        options.listen = vec![self.addr];
        self.running = Some(start(options).unwrap());
    }

    fn damage(&self, text: &str) {
        fs_err::write(self.folder.path().join("proxy/routes.json"), text).unwrap();
    }
}

#[test]
fn acknowledged_routes_are_there_after_a_restart_and_probed_again() {
    let mut rig = Rig::new();
    let backend = Backend::saying("ok.");
    let mut first = spec(1, &[&backend]);
    first.health = probing("/");
    rig.client().set_service(first.clone()).unwrap();
    rig.stop();
    drop(backend);
    rig.restart();
    assert_eq!(rig.client().list().unwrap().services, [first]);
    eventually("the proof from before is not believed", || {
        rig.target("g1i0").state == TargetState::Unhealthy
    });
    assert!(rig.target("g1i0").last_failure.unwrap().contains("Connection refused"));
}

#[test]
fn the_fence_survives_a_restart() {
    let mut rig = Rig::new();
    let backend = Backend::saying("ok.");
    rig.switch(5, &[&backend]);
    rig.client().remove(crate::rig::SERVICE, 6).unwrap();
    rig.stop();
    rig.restart();
    assert!(rig.client().set_service(spec(5, &[&backend])).is_err());
    rig.switch(7, &[&backend]);
}

#[test]
fn a_damaged_file_gives_way_to_the_one_before_and_says_so() {
    let mut rig = Rig::new();
    let (one, two) = (Backend::saying("v1."), Backend::saying("v2."));
    rig.switch(1, &[&one]);
    rig.switch(2, &[&two]);
    rig.stop();
    rig.damage("{\"version\": 1, \"services\": {\"app/w");
    rig.restart();
    let problem = rig.client().list().unwrap().state_error.unwrap();
    assert!(problem.contains("the routes before the last change are in force"), "{problem}");
    assert!(rig.get("/").ends_with("v1."));
    rig.switch(2, &[&two]);
    assert_eq!(rig.client().list().unwrap().state_error, None);
    assert!(rig.get("/").ends_with("v2."));
}

#[test]
fn lost_routes_are_503_and_not_404() {
    let mut rig = Rig::new();
    rig.stop();
    rig.damage("");
    rig.restart();
    let response = rig.get("/");
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains("has lost its routes"), "{response}");
    assert!(rig.client().list().unwrap().state_error.is_some());
}

#[test]
fn a_newer_file_stops_the_start() {
    let mut rig = Rig::new();
    rig.stop();
    rig.damage("{\"version\": 9}");
    let error = start(rig.options()).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("has version 9"), "{source}");
    assert!(rig.running.is_none());
}

#[test]
fn what_cannot_be_saved_does_not_happen() {
    let rig = Rig::new();
    let (one, two) = (Backend::saying("v1."), Backend::saying("v2."));
    rig.switch(1, &[&one]);
    let folder = rig.folder.path().join("proxy");
    fs_err::rename(&folder, rig.folder.path().join("elsewhere")).unwrap();
    let error = rig.client().set_service(spec(2, &[&two])).unwrap_err().to_string();
    assert!(error.starts_with("nothing was changed: failed to save the routes"), "{error}");
    assert!(rig.get("/").ends_with("v1."));
    fs_err::rename(rig.folder.path().join("elsewhere"), &folder).unwrap();
    rig.switch(2, &[&two]);
}

#[test]
fn a_taken_port_is_named_at_start() {
    let rig = Rig::new();
    let other = tempfile::tempdir().unwrap();
    let mut options = crate::rig::options(other.path());
    options.listen = vec![rig.addr];
    let error = start(options).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, format!("listen on {}", rig.addr));
    // Nothing is left running.
    assert!(Duration::ZERO < crate::rig::PATIENCE && !other.path().join("run/proxy.sock").exists());
}
