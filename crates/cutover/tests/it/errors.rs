//! Bad input: one clear error that names the thing and the next step, a documented exit code, and
//! nothing left behind.

use crate::harness::Root;

#[test]
fn wrong_command_lines_end_with_2() {
    let root = Root::new();
    for args in [
        &["nosuch"][..],
        &["run"],
        &["run", "--nosuch", "x"],
        &["ps", "--filter", "x=y"],
        &["save", "--format", "zip", "x"],
    ] {
        root.fails(2, args);
    }
    let err = root.fails(2, ["deplyo"]);
    assert!(err.contains("deploy"), "a near word is offered: {err}");
}

#[test]
fn what_is_not_there_is_named() {
    let root = Root::new();
    for (args, part) in [
        (&["rmi", "ghost"][..], "`ghost`"),
        (&["inspect", "ghost"], "`ghost`"),
        (&["history", "ghost"], "`ghost`"),
        (&["rm", "ghost"], "`ghost`"),
        (&["logs", "ghost"], "`ghost`"),
        (&["volume", "rm", "ghost"], "`ghost`"),
        (&["network", "rm", "ghost"], "`ghost`"),
        (&["releases"], "nothing was deployed"),
    ] {
        let err = root.fails(1, args);
        assert!(err.contains(part), "{args:?}: {err}");
    }
    let err = root.fails(125, ["run", "--pull", "never", "ghost", "true"]);
    assert!(err.contains("`ghost:latest`"), "{err}");
}

#[test]
fn a_registry_that_does_not_answer_is_named() {
    let root = Root::new();
    let err = root.fails(4, ["pull", "127.0.0.1:1/team/app:1"]);
    assert!(err.contains("127.0.0.1:1") && err.contains("hint:"), "{err}");
}

#[test]
fn a_wrong_compose_file_lists_every_problem() {
    let root = Root::with_busybox();
    let file = root.write(
        "compose.yaml",
        "name: shop\nservices:\n  web:\n    image: busybox\n    comand: [x]\n    ports: ['99999:80']\n    secrets: [missing]\n",
    );
    let err = root.fails(3, ["deploy", "-f", file.to_str().unwrap()]);
    for part in ["compose.yaml:5", "comand", "command", "99999", "missing", "3 problems"] {
        assert!(err.contains(part), "`{part}` is not in:\n{err}");
    }
    let err = root.fails(3, ["deploy", "-f", "nosuch.yaml"]);
    assert!(err.contains("nosuch.yaml"), "{err}");
}

#[test]
fn a_missing_secret_stops_before_anything_is_built() {
    let root = Root::with_busybox();
    let text = "name: shop\nservices:\n  web:\n    image: busybox\n    build: .\n    secrets: [key]\nsecrets:\n  key: { file: ./nokey }\n";
    root.write("Dockerfile", "FROM busybox\nRUN true\n");
    root.write("compose.yaml", text);
    let err = root.fails(3, ["deploy"]);
    assert!(err.contains("`key`") && err.contains("nokey") && err.contains("`web`"), "{err}");
    assert!(!err.contains("building"), "{err}");
}

#[test]
fn reset_touches_only_a_root_of_cutover() {
    let root = Root::new();
    let file = root.write("precious", "data");
    let dir = file.parent().unwrap().to_str().unwrap().to_owned();
    let err = root.fails(2, ["--root", &dir, "reset", "--force"]);
    assert!(err.contains("no root of cutover"), "{err}");
    assert!(file.exists());
}

#[test]
fn a_taken_port_is_told_by_the_agents_start() {
    let root = Root::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let err = root.fails(1, ["agent", "-d", "--listen", &address]);
    assert!(err.contains(&address) && err.contains("in use"), "{err}");
}

#[test]
fn an_unusable_root_is_named() {
    let root = Root::new();
    let file = root.write("file", "");
    let said = root.run(["--root", file.to_str().unwrap(), "images"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("file"), "{}", said.err);
}
