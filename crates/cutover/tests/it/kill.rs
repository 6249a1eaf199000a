//! SIGKILL at any moment: the agent, the proxy, the shim. Traffic goes on, deployments end well, and
//! nothing is left half done.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::deploy::Shop;
use crate::harness::{eventually, finish};

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    eventually("it is gone", || is_gone(pid));
}

/// Ended, and perhaps not yet reaped.
fn is_gone(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.starts_with(" Z"))
}

/// Kills the agent once the deployment has begun this step, and starts it again.
fn kill_the_agent_at(step: &str) {
    let shop = Shop::new();
    shop.deploy("1");
    let load = shop.load();
    let mut client = shop.root.command(["deploy"]);
    client.env("VERSION", "2").env("MONITOR", "1s").stdout(Stdio::piped()).stderr(Stdio::piped());
    let client = client.spawn().unwrap();
    let agent = shop.agent_pid();
    eventually(step, || {
        let said = shop.root.run(["ledger", "2", "--json"]);
        said.code == 0 && said.out.contains(&format!("\"{step}"))
    });
    kill(agent);
    // one or the other: a switch that was asked for just before the kill may still happen
    assert!(shop.get().contains("version "), "the proxy serves without the agent");
    shop.start_agent();
    let said = finish(client);
    let status = shop.status();
    let serving = status["serving"].as_u64().unwrap();
    assert_eq!(said.code == 0, serving == 2, "killed at {step}: {}", said.err);
    shop.serves(&serving.to_string());
    let ledger = shop.root.json(&["ledger", "--json"]);
    assert!(ledger[0]["outcome"].is_object(), "it has ended: {ledger:#}");
    // nothing stands in the way of the next one
    shop.deploy("3");
    shop.serves("3");
    load.end_without_failure();
}

#[test]
fn the_agent_is_killed_before_anything_started() {
    kill_the_agent_at("image");
}

#[test]
fn the_agent_is_killed_while_the_new_version_starts() {
    kill_the_agent_at("healthy");
}

#[test]
fn the_agent_is_killed_around_the_switch() {
    kill_the_agent_at("switch");
}

#[test]
fn the_agent_is_killed_while_it_watches() {
    kill_the_agent_at("monitor");
}

#[test]
fn traffic_goes_on_without_an_agent() {
    let shop = Shop::new();
    shop.deploy("1");
    let load = shop.load();
    kill(shop.agent_pid());
    for _ in 0..50 {
        shop.serves("1");
    }
    shop.start_agent();
    shop.deploy("2");
    load.end_without_failure();
}

#[test]
fn a_killed_proxy_is_back_at_once_and_refuses_nobody() {
    let shop = Shop::new();
    shop.deploy("1");
    let pid = || {
        let log = std::fs::read_to_string(shop.root.path().join("root/agent.log")).unwrap();
        log.matches("started the proxy").count()
    };
    assert_eq!(pid(), 1);
    let proxy = proxy_pid(&shop);
    kill(proxy);
    // connections wait in the listening socket that the agent holds
    for _ in 0..20 {
        shop.serves("1");
    }
    eventually("another proxy runs", || proxy_pid(&shop) != proxy);
    shop.deploy("2");
    shop.serves("2");
}

/// What was in flight dies with the process; clients that do what HTTP lets them do lose nothing but answers of
/// which a part was there.
#[test]
fn browsers_do_not_notice_a_killed_proxy() {
    let shop = Shop::new();
    shop.deploy("1");
    // One client: of several, one may have opened its connection only just before the kill.
    let load = shop.load_by(&["--keep-alive", "1", "--per-request", "0", "--repeat"]);
    for _ in 0..3 {
        let proxy = proxy_pid(&shop);
        kill(proxy);
        eventually("another proxy runs", || ![0, proxy].contains(&proxy_pid(&shop)));
        // it has a kept connection again: only there a request may be sent twice
        shop.is_loaded();
    }
    let summary = load.end();
    let failures = summary["failures"].as_object().unwrap();
    assert!(failures.keys().all(|kind| kind.starts_with("response body: ")), "{summary:#}");
    assert!(summary["repeated"].as_u64().unwrap() > 0, "{summary:#}");
}

fn proxy_pid(shop: &Shop) -> i32 {
    let socket = shop.root.path().join("root/run/proxy.sock");
    let Ok(stream) = std::os::unix::net::UnixStream::connect(socket) else { return 0 };
    let peer = rustix::net::sockopt::socket_peercred(&stream).unwrap();
    peer.pid.as_raw_nonzero().get()
}

#[test]
fn a_killed_shim_takes_its_container_along_and_the_agent_brings_it_back() {
    let shop = Shop::new();
    shop.deploy("1");
    let container = shop.root.json(&["ps", "--json"])[0]["name"].as_str().unwrap().to_owned();
    let state = shop.root.json(&["inspect", &container])[0]["state"].clone();
    let shim = i32::try_from(state["shim_pid"].as_i64().unwrap()).unwrap();
    let init = i32::try_from(state["pid"].as_i64().unwrap()).unwrap();
    kill(shim);
    eventually("its container is gone", || is_gone(init));
    eventually("it serves again", || shop.get().contains("version 1\n"));
    let after = shop.root.json(&["inspect", &container])[0]["state"].clone();
    assert_ne!(after["pid"], state["pid"], "{after:#}");
    shop.deploy("2");
    shop.serves("2");
}
