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
