use super::*;

fn load(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut value = crate::oci::template();
    change(&mut value);
    match parse(value.to_string().as_bytes()).and_then(|config| check(&config)) {
        Ok(()) => "fine".to_owned(),
        Err(error) => error.tell().text,
    }
}

#[test]
fn what_the_template_says_can_be_done() {
    assert_eq!(load(|_| ()), "fine");
    assert_eq!(load(|c| c["linux"]["somethingNew"] = 1.into()), "fine");
    assert_eq!(load(|c| c["linux"]["seccomp"] = serde_json::Value::Null), "fine");
    assert_eq!(load(|c| c["mounts"][0]["options"] = serde_json::Value::Null), "fine");
}

#[test]
fn mistakes_are_named_with_their_place() {
    assert_eq!(
        load(|c| c["process"]["user"]["uid"] = 4_294_967_296_u64.into()),
        "invalid `config.json`: `process.user.uid`: invalid value: integer `4294967296`, expected u32"
    );
    assert_eq!(
        load(|c| c["linux"]["namespaces"][1]["type"] = "fancy".into()),
        "invalid `config.json`: `linux.namespaces[1].type`: unknown variant `fancy`, expected one of `pid`, \
         `network`, `mount`, `ipc`, `uts`, `user`, `cgroup`, `time`"
    );
    assert_eq!(
        load(|c| c["mounts"][2]["options"] = vec!["remount"].into()),
        "unsupported `mounts[2].options`: `remount`: nothing is mounted twice here, give the options at once"
    );
    assert_eq!(
        load(|c| c["ociVersion"] = "2.0.0".into()),
        "unsupported `ociVersion`: `2.0.0`: this runtime follows 1.2.0"
    );
    assert_eq!(load(|c| c["ociVersion"] = "".into()), "invalid `ociVersion`: `` is not a version");
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    for (path, value, expected) in [
        ("/linux/intelRdt", serde_json::json!({}), "unsupported `linux.intelRdt`: it is not done"),
        (
            "/linux/seccomp",
            serde_json::json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
            "invalid `linux.seccomp`: seccomp profile has the unsupported action `SCMP_ACT_NOTIFY`",
        ),
        (
            "/linux/sysctl",
            serde_json::json!({"kernel.core_pattern": "x"}),
            "invalid `linux.sysctl`: `kernel.core_pattern` is not separate for each container",
        ),
        (
            "/linux/sysctl",
            serde_json::json!({"net.ipv4.../../kernel/core_pattern": "x"}),
            "invalid `linux.sysctl`: `net.ipv4.../../kernel/core_pattern` is not a sysctl",
        ),
        (
            "/linux/cgroupsPath",
            serde_json::json!("/a/../../b"),
            "invalid `linux.cgroupsPath`: it leads out",
        ),
        (
            "/linux/namespaces",
            serde_json::json!([{"type": "mount"}, {"type": "mount"}]),
            "invalid `linux.namespaces`: `mnt` is there twice",
        ),
    ] {
        let got = load(|config| {
            let (parent, key) = path.rsplit_once('/').expect("a path");
            config.pointer_mut(parent).expect("there")[key] = value;
        });
        assert_eq!(got, expected);
    }
}
