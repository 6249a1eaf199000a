//! Releases: deploy, switch, fail, go back; on a real machine with real traffic.

use std::io::Write;
use std::process::{Child, Stdio};

use crate::harness::{Root, Said, eventually, finish};
use crate::run::{free_port, http_get};

/// An app whose version is an environment variable; version `broken` starts and answers 404.
const APP: &str = "\
name: shop
services:
  web:
    image: busybox
    command:
      - sh
      - -c
      - |
        [ \"$$VERSION\" = broken ] || echo \"version $$VERSION\" > /tmp/index.html
        echo \"starting $$VERSION\"
        exec httpd -f -p 80 -h /tmp
    environment:
      VERSION: ${VERSION}
    stop_grace_period: 0s
    deploy:
      update_config: { monitor: '${MONITOR:-0s}' }
    x-cutover:
      port: 80
      routes: [{ path: / }]
      verify: [{ http: { path: /, status: 200, contains: version } }]
      drain_timeout: 5s
      standby: ${STANDBY:-running}
";

/// A root with an agent, and the port that its proxy listens on.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) root: Root,
    pub(crate) port: u16,
}

impl Shop {
    pub(crate) fn new() -> Self {
        let shop = Self { root: Root::with_busybox(), port: free_port() };
        shop.root.write("compose.yaml", APP);
        shop.start_agent();
        shop
    }

    pub(crate) fn start_agent(&self) {
        let listen = format!("127.0.0.1:{}", self.port);
        self.root.ok(["agent", "-d", "--listen", &listen]);
    }

    pub(crate) fn try_deploy(&self, version: &str) -> Said {
        let output = self.root.command(["deploy"]).env("VERSION", version).output().unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn deploy(&self, version: &str) {
        let said = self.try_deploy(version);
        assert_eq!(said.code, 0, "deploy {version}: {}", said.err);
    }

    pub(crate) fn get(&self) -> String {
        http_get(self.port).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn serves(&self, version: &str) {
        let answer = self.get();
        assert!(answer.contains(&format!("version {version}\n")), "expected {version}: {answer}");
    }

    /// What `status` says of the app.
    pub(crate) fn status(&self) -> serde_json::Value {
        self.root.json(&["status", "--json"])["apps"][0].clone()
    }

    pub(crate) fn agent_pid(&self) -> i32 {
        let status = self.root.json(&["status", "--json"]);
        i32::try_from(status["agent"]["pid"].as_i64().expect("an agent runs")).unwrap()
    }

    /// Starts a load on the proxy; [`Load::end`] says how it went.
    pub(crate) fn load(&self) -> Load {
        self.load_by(&["--keep-alive", "4", "--per-request", "2"])
    }

    /// A load by clients of this kind.
    pub(crate) fn load_by(&self, clients: &[&str]) -> Load {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let mut command = self.root.command(["loadgen"]);
        let child = command
            .args(clients)
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        self.is_loaded();
        Load { child }
    }

    /// Waits until the proxy that runs now has had some requests from everyone.
    pub(crate) fn is_loaded(&self) {
        let sent = || -> u64 {
            let status = self.status();
            let instances = status["instances"].as_array().cloned().unwrap_or_default();
            instances.iter().filter_map(|one| one["requests"].as_u64()).sum()
        };
        eventually("the load is there", || sent() > 100);
    }
}

/// A running load generator.
#[derive(Debug)]
pub(crate) struct Load {
    child: Child,
}

impl Load {
    /// Ends it, and nothing may have failed.
    #[track_caller]
    pub(crate) fn end_without_failure(self) -> serde_json::Value {
        let summary = self.end();
        assert_eq!(summary["failed"], 0, "{summary:#}");
        assert!(summary["requests"].as_u64().unwrap() > 50, "there was a load: {summary:#}");
        summary
    }

    /// Ends it; how it went.
    #[track_caller]
    pub(crate) fn end(mut self) -> serde_json::Value {
        let mut stdin = self.child.stdin.take().unwrap();
        stdin.flush().unwrap();
        drop(stdin);
        let said = finish(self.child);
        serde_json::from_str(&said.out).expect(&said.out)
    }
}

#[test]
fn the_whole_story_under_load_without_a_failed_request() {
    let shop = Shop::new();
    shop.deploy("1");
    shop.serves("1");
    let load = shop.load();
    shop.deploy("2");
    shop.serves("2");
    assert_eq!(shop.status()["serving"], 2);
    assert_eq!(shop.status()["standby"], 1);

    shop.root.ok(["rollback"]);
    shop.serves("1");
    assert_eq!(shop.status()["serving"], 1);
    shop.root.ok(["rollback", "2"]);
    shop.serves("2");

    let said = shop.try_deploy("broken");
    assert_eq!(said.code, 5, "{}", said.err);
    for part in ["404", "release 2", "starting broken", "hint:"] {
        assert!(said.err.contains(part), "`{part}` is not in:\n{}", said.err);
    }
    shop.serves("2");
    assert_eq!(shop.status()["serving"], 2);
    load.end_without_failure();

    let ledger = shop.root.json(&["ledger", "--json"]);
    let outcomes: Vec<&str> = ledger
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["outcome"]["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["reverted", "succeeded", "succeeded", "succeeded", "succeeded"]);
    shop.root.ok(["down"]);
    assert_eq!(shop.root.ok(["ps", "-aq"]), "");
    shop.deploy("2");
    shop.serves("2");
}

#[test]
fn a_cancelled_deployment_is_undone() {
    let shop = Shop::new();
    shop.deploy("1");
    let hook = "    pre_start: [{ command: [sleep, '60'], per_replica: false }]\n    x-cutover:";
    shop.root.write("compose.yaml", &APP.replacen("    x-cutover:", hook, 1));
    let mut client = shop.root.command(["deploy"]);
    client.env("VERSION", "2").stdout(Stdio::piped()).stderr(Stdio::piped());
    let client = client.spawn().unwrap();
    eventually("its hook runs", || shop.root.ok(["ps", "-q"]).lines().count() == 2);
    shop.root.ok(["cancel"]);
    assert_eq!(finish(client).code, 5);
    shop.serves("1");
    assert_eq!(shop.root.ok(["ps", "-aq"]).lines().count(), 1, "the hook does not go on");
}

#[test]
fn the_same_again_changes_nothing() {
    let shop = Shop::new();
    shop.deploy("1");
    let before = shop.root.ok(["ps", "-q", "--no-trunc"]);
    let said = shop.try_deploy("1");
    assert!(said.err.contains("release 1"), "{}", said.err);
    assert_eq!(shop.root.ok(["ps", "-q", "--no-trunc"]), before);
    let refused = shop.root.fails(5, ["rollback", "1"]);
    assert!(refused.contains("release 1"), "{refused}");
}

#[test]
fn a_plan_changes_nothing() {
    let shop = Shop::new();
    let output = shop.root.command(["deploy", "--plan"]).env("VERSION", "1").output().unwrap();
    let plan = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && plan.contains("SWITCH"), "{plan}");
    assert_eq!(shop.root.ok(["ps", "-aq"]), "");
    assert!(shop.root.json(&["status", "--json"])["apps"].as_array().unwrap().is_empty());
}

#[test]
fn a_first_release_that_fails_leaves_nothing() {
    let shop = Shop::new();
    let text = APP.replacen("    stop_grace", "    volumes: ['data:/data']\n    stop_grace", 1);
    shop.root.write("compose.yaml", &format!("{text}volumes: {{ data: {{}} }}\n"));
    let said = shop.try_deploy("broken");
    assert_eq!(said.code, 5, "{}", said.err);
    for part in ["404", "nothing of `shop` serves, and nothing of this deployment is left"] {
        assert!(said.err.contains(part), "`{part}` is not in:\n{}", said.err);
    }
    assert_eq!(shop.root.ok(["ps", "-aq"]), "");
    assert_eq!(shop.root.ok(["network", "ls", "-q"]), "");
    assert_eq!(shop.root.ok(["volume", "ls", "-q"]), "");
    shop.deploy("1");
    shop.serves("1");
}

#[test]
fn what_a_failed_first_release_served_from_stays_until_down() {
    let shop = Shop::new();
    let text = APP.replacen(
        "    stop_grace",
        "    volumes: ['data:/data']\n    restart: 'no'\n    stop_grace",
        1,
    );
    let text = text.replace("exec httpd -f", "(sleep 2; kill 1) & httpd -f");
    let text = text.replace("        (sleep", "        trap 'exit 3' TERM; (sleep");
    let text = text.replace("-h /tmp", "-h /tmp & wait; exit 3");
    shop.root.write("compose.yaml", &format!("{text}volumes: {{ data: {{}} }}\n"));
    let mut command = shop.root.command(["deploy"]);
    let said = command.env("VERSION", "1").env("MONITOR", "30s").output().unwrap();
    let err = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(5), "{err}");
    assert!(err.contains("`cutover down -v`"), "{err}");
    assert_eq!(shop.root.ok(["volume", "ls", "-q"]), "shop_data");
    shop.root.ok(["down", "-v"]);
    assert_eq!(shop.root.ok(["volume", "ls", "-q"]), "");
    let refused = shop.root.fails(5, ["down"]);
    assert!(refused.contains("not deployed"), "{refused}");
}

#[test]
fn a_refused_plan_takes_no_release_number() {
    let shop = Shop::new();
    shop.root.write("fixed.yaml", "name: shop\nservices:\n  web: { image: busybox, ports: ['18:80'], deploy: { replicas: 2 } }\n");
    let refused = shop.root.fails(5, ["deploy", "-f", "fixed.yaml"]);
    assert!(refused.contains("replicas"), "{refused}");
    shop.deploy("1");
    assert_eq!(shop.status()["serving"], 1);
}

#[test]
fn two_deployments_of_one_app_wait_or_are_refused() {
    let shop = Shop::new();
    shop.deploy("1");
    let mut first = shop.root.command(["deploy"]);
    first.env("VERSION", "2").env("MONITOR", "2s");
    let first = first.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it is under way", || shop.status()["deployment"].is_number());
    let refused = shop.root.command(["deploy", "--no-wait"]).env("VERSION", "3").output().unwrap();
    assert_eq!(refused.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("under way"));
    shop.deploy("3");
    assert_eq!(finish(first).code, 0);
    shop.serves("3");
}

#[test]
fn a_client_that_goes_away_stops_nothing() {
    let shop = Shop::new();
    shop.deploy("1");
    let mut client = shop.root.command(["deploy"]);
    client.env("VERSION", "2").stdout(Stdio::null()).stderr(Stdio::null());
    let mut client = client.spawn().unwrap();
    eventually("it is under way", || {
        let status = shop.status();
        status["deployment"].is_number() || status["serving"] == 2
    });
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("release 2 serves", || shop.status()["serving"] == 2);
    shop.serves("2");
}

#[test]
fn a_rollback_restores_the_environment_and_the_secrets() {
    let shop = Shop::new();
    let text = "\
name: shop
services:
  web:
    image: busybox
    command: [sh, -c, 'cp /run/secrets/key /tmp/index.html; echo $$EXTRA >> /tmp/index.html; exec httpd -f -p 80 -h /tmp']
    environment: { EXTRA: '${EXTRA}' }
    secrets: [key]
    stop_grace_period: 0s
    deploy: { update_config: { monitor: 0s } }
    x-cutover: { port: 80, routes: [{ path: / }], standby: none }
secrets:
  key: { file: ./key }
";
    shop.root.write("compose.yaml", text);
    let deploy = |secret: &str, extra: &str| {
        shop.root.write("key", secret);
        let output = shop.root.command(["deploy"]).env("EXTRA", extra).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    deploy("first-secret\n", "one");
    deploy("second-secret\n", "two");
    assert!(shop.get().contains("second-secret\ntwo"), "{}", shop.get());
    shop.root.ok(["rollback"]);
    assert!(shop.get().contains("first-secret\none"), "{}", shop.get());
    let diff = shop.root.ok(["diff", "1", "2"]);
    assert!(diff.contains("EXTRA") && diff.contains("key"), "{diff}");
    for text in
        [&diff, &shop.root.ok(["releases", "--json"]), &shop.root.ok(["ledger", "1", "--json"])]
    {
        assert!(!text.contains("first-secret") && !text.contains("second-secret"), "{text}");
    }
}

#[test]
fn a_service_with_a_volume_is_replaced_stop_first_with_requests_held() {
    let shop = Shop::new();
    let text = "\
name: shop
services:
  web:
    image: busybox
    command: [sh, -c, 'echo $$VERSION >> /data/index.html; exec httpd -f -p 80 -h /data']
    environment: { VERSION: '${VERSION}' }
    volumes: ['data:/data']
    stop_grace_period: 0s
    deploy: { update_config: { monitor: 0s } }
    x-cutover: { port: 80, routes: [{ path: / }] }
volumes: { data: {} }
";
    shop.root.write("compose.yaml", text);
    shop.deploy("one");
    let load = shop.load();
    shop.deploy("two");
    load.end_without_failure();
    assert!(
        shop.get().ends_with("one\ntwo\n"),
        "one after the other, on one volume: {}",
        shop.get()
    );
}

#[test]
fn services_find_each_other_by_name_and_unchanged_ones_are_not_touched() {
    let shop = Shop::new();
    let text = "\
name: shop
services:
  web:
    image: busybox
    command:
      - sh
      - -c
      - |
        while :; do wget -qO /tmp/next http://backend/ && mv /tmp/next /tmp/index.html; sleep 0.1; done &
        exec httpd -f -p 80 -h /tmp
    environment: { VERSION: '${VERSION}' }
    depends_on: { backend: { condition: service_healthy } }
    pre_start:
      - { command: [sh, -c, 'wget -qO- http://backend/ | grep from'], per_replica: false }
    stop_grace_period: 0s
    deploy: { update_config: { monitor: 0s } }
    x-cutover: { port: 80, routes: [{ path: / }], verify: [{ http: { path: /, contains: from the backend, retries: 5 } }] }
  backend:
    image: busybox
    command: [sh, -c, 'echo from the backend > /tmp/index.html; exec httpd -f -p 80 -h /tmp']
    healthcheck: { test: [CMD, wget, -qO-, 'http://127.0.0.1/'], interval: 1s, start_period: 5s, start_interval: 100ms }
    stop_grace_period: 0s
";
    shop.root.write("compose.yaml", text);
    shop.deploy("1");
    assert!(shop.get().contains("from the backend"), "{}", shop.get());
    let backend = |shop: &Shop| shop.root.ok(["ps", "-q", "-f", "label=cutover.service=backend"]);
    let before = backend(&shop);
    shop.deploy("2");
    assert_eq!(backend(&shop), before, "the backend did not change, so it is not touched");
}

#[test]
fn exec_into_an_instance_is_recorded() {
    let shop = Shop::new();
    shop.deploy("1");
    let name = shop.root.json(&["ps", "--json"])[0]["name"].as_str().unwrap().to_owned();
    assert_eq!(shop.root.ok(["exec", &name, "echo", "hi"]), "hi");
    assert_eq!(shop.status()["instances"][0]["tainted"], true);
}
