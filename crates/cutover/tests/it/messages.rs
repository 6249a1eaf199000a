//! What people read is true, and says what to do.

use crate::deploy::Shop;
use crate::harness::{Root, eventually, finish};

#[test]
fn status_says_that_a_release_stands_by_only_when_something_of_it_waits() {
    let shop = Shop::new();
    let deploy = |version: &str, standby: &str| {
        let mut command = shop.root.command(["deploy"]);
        let said = command.env("VERSION", version).env("STANDBY", standby).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    };
    deploy("1", "running");
    deploy("2", "running");
    let status = shop.root.ok(["status"]);
    assert!(status.contains("release 2 serves, 1 stands by"), "{status}");
    deploy("3", "none");
    let status = shop.root.ok(["status"]);
    assert!(status.contains("release 3 serves, 2 served before and nothing"), "{status}");
    let releases = shop.root.ok(["releases"]);
    assert!(releases.contains("previous") && !releases.contains("standby"), "{releases}");
    assert_eq!((&shop.status()["standby"], &shop.status()["previous"]), (&().into(), &2.into()));
}

#[test]
fn a_rollback_says_when_traffic_has_moved_and_where_forward_is() {
    let shop = Shop::new();
    let text = std::fs::read_to_string(shop.root.work().join("compose.yaml")).unwrap();
    let watched = "{ monitor: 0s }\n      rollback_config: { monitor: 1s }";
    shop.root.write("compose.yaml", &text.replace("{ monitor: '${MONITOR:-0s}' }", watched));
    shop.deploy("1");
    shop.deploy("2");
    let said = shop.root.run(["rollback"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let at = |part: &str| said.err.find(part).unwrap_or_else(|| panic!("{part}: {}", said.err));
    assert!(at("SWITCH") < at("traffic has moved; watching the new instances for 1s"));
    assert!(at("traffic has moved") < at("release 1 of `shop` serves all traffic"));
    assert!(said.err.contains("`cutover rollback 2` goes back to it"), "{}", said.err);
    let refused = shop.root.fails(5, ["rollback"]);
    assert!(refused.contains("`cutover rollback 2` goes forward again"), "{refused}");

    let detached = shop.root.run(["rollback", "-d", "2"]);
    assert!(detached.err.contains("is under way"), "{}", detached.err);
    eventually("release 2 serves", || shop.status()["serving"] == 2);
}

#[test]
fn logs_of_a_service_are_those_of_its_instances() {
    let shop = Shop::new();
    let text = std::fs::read_to_string(shop.root.work().join("compose.yaml")).unwrap();
    let text = text
        .replace("deploy: {", "deploy: { replicas: 2,")
        .replace("    deploy:\n", "    deploy:\n      replicas: 2\n");
    shop.root.write("compose.yaml", &text);
    shop.deploy("1");
    for name in ["web", "shop/web"] {
        let said = shop.root.ok(["logs", name]);
        assert_eq!(said, "web-1-1 | starting 1\nweb-1-2 | starting 1", "{name}");
    }
    assert_eq!(shop.root.ok(["logs", "-n", "0", "web"]), "");
    let following = shop.root.spawn(["logs", "-f", "web"]);
    shop.root.ok(["down"]);
    let said = finish(following);
    assert_eq!((said.code, said.out.lines().count()), (0, 2), "{}", said.err);
    let refused = shop.root.fails(1, ["logs", "wbe"]);
    assert!(refused.contains("wbe"), "{refused}");
}

#[test]
fn a_registry_is_to_blame_in_a_build_as_in_a_pull() {
    let root = Root::new();
    root.write("ctx/Dockerfile", "FROM 127.0.0.1:1/base\n");
    let pulled = root.fails(4, ["pull", "127.0.0.1:1/base"]);
    let built = root.fails(4, ["build", "-q", "ctx"]);
    let hint = |said: &str| said.lines().find(|line| line.starts_with("hint:")).map(str::to_owned);
    assert!(hint(&pulled).is_some(), "{pulled}");
    assert_eq!(hint(&built), hint(&pulled), "{built}");
}

#[test]
fn a_missing_file_of_the_users_is_one_kind_of_mistake() {
    let root = Root::new();
    std::fs::create_dir_all(root.work().join("empty")).unwrap();
    root.fails(3, ["build", "-q", "empty"]);
    root.fails(3, ["build", "-q", "-f", "empty/nothing", "empty"]);
    root.fails(3, ["build", "-q", "nowhere"]);
    root.fails(3, ["deploy", "-f", "nowhere.yaml"]);
    let text = "name: shop\nservices:\n  web: { build: ./empty }\n";
    root.write("compose.yaml", text);
    root.fails(3, ["deploy"]);
}

#[test]
fn diff_of_a_container_is_what_it_changed_as_docker_lists_it() {
    let root = Root::with_busybox();
    let text =
        "FROM busybox\nRUN mkdir -p /d/e && echo 1 > /d/e/f && echo 2 > /d/g && echo 3 > /gone\n";
    root.write("ctx/Dockerfile", text);
    root.ok(["build", "-q", "-t", "drifter", "ctx"]);
    let script =
        "echo more >> /d/e/f; touch /tmp/new; rm /gone; rm -r /d/e /d/g; mkdir /d/e; ln -s / /link";
    let run = |name: &str, script: &str| {
        root.ok(["run", "--name", name, "-v", "data:/data/here", "drifter", "sh", "-c", script]);
        root.ok(["diff", name])
    };
    assert_eq!(run("still", "true"), "", "what is mounted is no drift");
    let changed = "C /d\nC /d/e\nD /d/e/f\nD /d/g\nD /gone\nA /link\nC /tmp\nA /tmp/new";
    assert_eq!(run("restless", script), changed);
    let json = root.json(&["diff", "--json", "restless"]);
    assert_eq!(json[5], serde_json::json!({ "kind": "A", "path": "/link" }));
    root.fails(1, ["diff", "nobody"]);
}

#[test]
fn status_shows_drift_when_asked() {
    let shop = Shop::new();
    shop.deploy("1");
    let note = |args: &[&str]| shop.root.json(args)["apps"][0]["instances"][0]["drift"].clone();
    assert!(note(&["status", "--json"]).is_null());
    let paths = note(&["status", "--drift", "--json"]);
    assert_eq!(paths[1], serde_json::json!({ "kind": "A", "path": "/tmp/index.html" }));
    let status = shop.root.ok(["status", "--drift"]);
    assert!(status.contains("2 paths drifted"), "{status}");
    let name = shop.root.json(&["ps", "--json"])[0]["name"].as_str().unwrap().to_owned();
    shop.root.ok(["exec", &name, "touch", "/tmp/by-hand"]);
    let said = shop.root.run(["diff", &name]);
    assert!(said.out.contains("A /tmp/by-hand"), "{}", said.out);
    assert!(said.err.contains("tainted") && said.err.contains("touch"), "{}", said.err);
}
