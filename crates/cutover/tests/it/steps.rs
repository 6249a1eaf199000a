//! SIGKILL of the agent at every kind of step, and of a shim, while there is a load: no request may
//! fail, and every deployment ends well by itself.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};

use crate::deploy::Shop;
use crate::harness::{PATIENCE, eventually, finish};

/// A deployment from one version to the next has a step of every kind.
const EVERYTHING: &str = "\
name: shop
services:
  web:
    image: busybox
    command:
      - sh
      - -c
      - |
        echo \"version $$VERSION\" > /tmp/index.html
        exec httpd -f -p 80 -h /tmp
    environment: { VERSION: '${VERSION}' }
    depends_on:
      job: { condition: service_completed_successfully }
      db: { condition: service_started }
    pre_start:
      - { command: ['true'], per_replica: false }
      - { command: ['true'] }
    stop_grace_period: 0s
    deploy:
      replicas: 2
      update_config: { monitor: 500ms, parallelism: 1, delay: 200ms }
    x-cutover:
      port: 80
      routes: [{ path: / }]
      verify:
        - { http: { path: /, contains: version } }
        - { command: ['true'] }
      drain_timeout: 5s
      standby: running
  job:
    image: busybox
    command: ['true']
    environment: { VERSION: '${VERSION}' }
  db:
    image: busybox
    command: [sleep, '100000']
    environment: { VERSION: '${VERSION}' }
    volumes: ['data:/data']
    stop_grace_period: 0s
    deploy: { update_config: { monitor: 0s } }
volumes: { data: {} }
";

/// The kinds, as the names of steps begin; `every_kind_is_killed_at` sees that none is missing.
const KINDS: [[&str; 5]; 4] = [
    ["image", "network", "volume", "hook", "start"],
    ["healthy", "completed", "verify", "pause", "hold"],
    ["stop", "announce", "unhold", "switch", "monitor"],
    ["drain", "standby", "remove", "collect", "switch"],
];

/// Clients of [`Shop::load`].
const CLIENTS: u64 = 6;

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    eventually("it is gone", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.starts_with(" Z"))
    });
}

fn ledger(shop: &Shop) -> Connection {
    let path: PathBuf = shop.root.path().join("root/ledger.db");
    let ledger = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    ledger.busy_timeout(Duration::from_secs(10)).unwrap();
    ledger
}

/// Waits until the deployment has begun a step of this kind: it is recorded before it acts, so what
/// follows within a millisecond meets it in its middle, or just before or after it.
#[track_caller]
fn await_step(ledger: &Connection, deployment: u64, kind: &str) {
    let sql =
        "SELECT count(*) FROM steps WHERE deployment = ?1 AND (id = ?2 OR id LIKE ?2 || ' %')";
    let mut statement = ledger.prepare(sql).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut begun = || statement.query_row((deployment, kind), |row| row.get::<_, u64>(0)).unwrap();
    while begun() == 0 {
        assert!(Instant::now() < deadline, "deployment {deployment} has no step `{kind}`");
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn kill_the_agent_at(kinds: &[&str]) {
    let shop = Shop::new();
    shop.root.write("compose.yaml", EVERYTHING);
    shop.deploy("1");
    let load = shop.load();
    let steps = ledger(&shop);
    for (deployment, kind) in (2..).zip(kinds) {
        let mut client = shop.root.command(["deploy"]);
        client.env("VERSION", deployment.to_string());
        let client = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let agent = shop.agent_pid();
        await_step(&steps, deployment, kind);
        kill(agent);
        shop.start_agent();
        let said = finish(client);
        let status = shop.status();
        // each deployment begins, so each has sealed a release of the same number
        let serving = status["serving"].as_u64().unwrap();
        assert_eq!(said.code == 0, serving == deployment, "killed at {kind}: {}", said.err);
        shop.serves(&serving.to_string());
        let ended = shop.root.json(&["ledger", "--json"]);
        assert!(ended[0]["outcome"].is_object(), "killed at {kind}: {}\n{ended:#}", said.err);
    }
    load.end_without_failure();
}

#[test]
fn the_agent_is_killed_at_each_step_that_prepares() {
    kill_the_agent_at(&KINDS[0]);
}

#[test]
fn the_agent_is_killed_at_each_step_that_proves() {
    kill_the_agent_at(&KINDS[1]);
}

#[test]
fn the_agent_is_killed_at_each_step_that_moves_something() {
    kill_the_agent_at(&KINDS[2]);
}

#[test]
fn the_agent_is_killed_at_each_step_that_cleans_up() {
    kill_the_agent_at(&KINDS[3]);
}

#[test]
fn every_kind_is_killed_at() {
    let shop = Shop::new();
    shop.root.write("compose.yaml", EVERYTHING);
    for version in ["1", "2", "3"] {
        shop.deploy(version);
    }
    let steps = ledger(&shop);
    let mut ids = steps.prepare("SELECT DISTINCT id FROM steps").unwrap();
    let ids = ids.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
    let mut seen: Vec<String> = ids.map(|id| id.split(' ').next().unwrap().to_owned()).collect();
    seen.sort();
    seen.dedup();
    let mut known: Vec<&str> = KINDS.into_iter().flatten().collect();
    known.sort_unstable();
    known.dedup();
    assert_eq!(seen, known);
}

/// What clients see when the shim of one of two instances is killed: its container dies with it.
/// Requests that it had taken and not answered are lost, at most one a client; the others, also those
/// that come while it is away, are answered by the other instance. The agent brings it back.
#[test]
fn a_shim_is_killed_under_load() {
    let shop = Shop::new();
    let text = std::fs::read_to_string(shop.root.work().join("compose.yaml")).unwrap();
    let text = text.replacen("    deploy:\n", "    deploy:\n      replicas: 2\n", 1);
    shop.root.write("compose.yaml", &text);
    shop.deploy("1");
    let load = shop.load();
    let states = || -> Vec<serde_json::Value> {
        let all = shop.root.json(&["ps", "--json"]);
        let names =
            all.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned());
        names.map(|name| shop.root.json(&["inspect", &name])[0]["state"].clone()).collect()
    };
    let kills = 3;
    for _ in 0..kills {
        let before = states();
        let shim = before[0]["shim_pid"].as_i64().unwrap();
        kill(i32::try_from(shim).unwrap());
        eventually("two run again, one of them by another shim", || {
            let now = states();
            now.len() == 2 && now.iter().all(|state| state["shim_pid"] != shim)
        });
        eventually("both get requests", || {
            let instances = shop.status()["instances"].as_array().unwrap().clone();
            instances.iter().all(|one| one["traffic"] == "serving")
        });
    }
    let summary = load.end();
    let failed = summary["failed"].as_u64().unwrap();
    assert!(failed <= kills * CLIENTS, "{summary:#}");
    assert!(summary["ok"].as_u64().unwrap() > 100, "{summary:#}");
}
