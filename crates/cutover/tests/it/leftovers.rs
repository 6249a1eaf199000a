//! What stays on the disk: nothing that grows for ever, and nothing that a power loss makes useless.

use std::path::PathBuf;

use crate::deploy::Shop;
use crate::harness::{Root, eventually};

const WITH_SECRET: &str = "\
name: shop
services:
  web:
    image: busybox
    command: [sh, -c, 'echo version 1 > /tmp/index.html; exec httpd -f -p 80 -h /tmp']
    secrets: [key]
    stop_grace_period: 0s
    deploy: { replicas: '${REPLICAS}', update_config: { monitor: 0s } }
    ports: ['${PORT}:80']
    x-cutover: { port: 80, routes: [{ path: / }], standby: none }
secrets:
  key: { file: ./key }
";

/// The versions that are kept.
fn versions(root: &Root) -> usize {
    let entries = std::fs::read_dir(root.path().join("root/secrets")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.len() == 64).count()
}

#[test]
fn versions_of_secrets_that_no_release_names_go() {
    let shop = Shop::new();
    shop.root.write("compose.yaml", WITH_SECRET);
    let port = crate::run::free_port().to_string();
    let deploy = |secret: &str, replicas: &str| {
        shop.root.write("key", secret);
        let mut command = shop.root.command(["deploy"]);
        command.env("REPLICAS", replicas).env("PORT", &port).output().unwrap().status.code()
    };
    // refused: two copies cannot have one port; what was kept for it is nobody's
    assert_eq!(deploy("never deployed", "2"), Some(5));
    assert_eq!(deploy("first", "1"), Some(0));
    eventually("the refused one's is gone", || versions(&shop.root) == 1);
    assert_eq!(deploy("second", "1"), Some(0));
    assert_eq!(versions(&shop.root), 2, "release 1 is kept, and so is what it names");
    assert_eq!(deploy("not deployed either", "2"), Some(5));
    let said = shop.root.run(["gc"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(versions(&shop.root), 2);
    shop.root.ok(["rollback"]);
}

#[test]
fn a_full_agent_log_is_put_aside_by_the_agent_itself() {
    let root = Root::new();
    let log = root.path().join("root/agent.log");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::File::create(&log).unwrap().set_len(10 << 20).unwrap();
    root.ok(["agent", "-d", "--listen", "127.0.0.1:0"]);
    let pid = root.json(&["status", "--json"])["agent"]["pid"].as_i64().unwrap();
    assert_eq!(std::fs::metadata(log.with_extension("log.1")).unwrap().len(), 10 << 20);
    for fd in [1, 2] {
        let held: PathBuf = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
        assert_eq!(held, log.canonicalize().unwrap(), "it writes to the new one");
    }
    assert!(std::fs::read_to_string(&log).unwrap().contains("the agent runs"));
}

#[test]
fn files_that_a_power_loss_left_blank_stop_nothing() {
    let root = Root::with_busybox();
    for name in ["state", "config"] {
        let run = ["run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000"];
        let id = root.ok(run);
        root.ok(["kill", name]);
        eventually("it has ended", || root.ok(["ps", "-q"]).is_empty());
        let path = root.path().join("root/containers").join(id).join(format!("{name}.json"));
        std::fs::write(path, "").unwrap();
    }
    assert_eq!(root.ok(["ps", "-aq"]).lines().count(), 1, "one is lost, one is known");
    root.ok(["start", "state"]);
    assert_eq!(root.ok(["exec", "state", "echo", "up"]), "up");

    std::fs::write(root.path().join("root/agent.json"), "").unwrap();
    let said = root.run(["agent", "-d"]);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("agent.json"), "{}", said.err);
    root.ok(["agent", "-d", "--listen", "127.0.0.1:0"]);
    root.ok(["run", "--name", "config", "--network", "none", "busybox", "true"]);
    let containers = std::fs::read_dir(root.path().join("root/containers")).unwrap();
    let dirs = containers.filter(|entry| entry.as_ref().unwrap().file_name().len() == 64);
    assert_eq!(dirs.count(), 2, "the agent removed what was lost");
}

#[test]
fn gc_all_takes_the_images_that_nothing_uses() {
    let root = Root::with_busybox();
    root.write("ctx/Dockerfile", "FROM busybox\nLABEL a=b\n");
    root.ok(["build", "-q", "-t", "unused", "ctx"]);
    root.ok(["run", "--name", "one", "--network", "none", "busybox", "true"]);
    root.ok(["gc"]);
    assert!(root.ok(["images"]).contains("unused"), "a name keeps an image");
    let said = root.ok(["gc", "-a"]);
    assert!(said.contains("unused"), "{said}");
    let images = root.ok(["images"]);
    assert!(!images.contains("unused") && images.contains("busybox"), "{images}");
    root.ok(["start", "one"]);
}
