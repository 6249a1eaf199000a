use std::path::Path;

use cutover_core::Digest;
use cutover_core::oci::{self, Healthcheck};
use jiff::Timestamp;

use super::*;
use crate::container::{Mount, MountKind};

const ID: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";

fn options() -> RunOptions {
    RunOptions::new(ID.parse().unwrap(), Timestamp::UNIX_EPOCH)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn try_merge(image: &oci::Config, options: RunOptions) -> Result<ContainerConfig, MergeError> {
    let image = ImageSource {
        name: "app:1".to_owned(),
        digest: Digest::sha256(b""),
        config: image,
        lowers: Vec::new(),
    };
    merge(&image, options)
}

fn image() -> oci::Config {
    oci::Config {
        entrypoint: Some(words("entry -e")),
        cmd: Some(words("image cmd")),
        ..oci::Config::default()
    }
}

fn command(entrypoint: Option<&str>, cmd: &str) -> Result<Vec<String>, MergeError> {
    let options = RunOptions { entrypoint: entrypoint.map(words), cmd: words(cmd), ..options() };
    try_merge(&image(), options).map(|config| config.args())
}

#[test]
fn entrypoint_and_command() {
    for (entrypoint, cmd, expected) in [
        (None, "", "entry -e image cmd"),
        (None, "own", "entry -e own"),
        (Some("mine"), "", "mine"),
        (Some("mine"), "own", "mine own"),
        (Some(""), "own", "own"),
    ] {
        assert_eq!(command(entrypoint, cmd), Ok(words(expected)), "{entrypoint:?} {cmd:?}");
    }
    assert_eq!(command(Some(""), ""), Err(MergeError::NoCommand("app:1".to_owned())));
}

fn env(image_env: &[&str], own: &[&str], terminal: bool) -> Vec<String> {
    let image =
        oci::Config { env: image_env.iter().map(|&line| line.to_owned()).collect(), ..image() };
    let env = own.iter().map(|&line| line.to_owned()).collect();
    try_merge(&image, RunOptions { env, terminal, ..options() }).unwrap().env
}

#[test]
fn environment_is_in_dockers_order() {
    let path = format!("PATH={DEFAULT_PATH}");
    assert_eq!(env(&[], &[], false), [path.as_str(), "HOSTNAME=a1b2c3d4e5f6"]);
    assert_eq!(
        env(&["PATH=/x", "A=1", "B=2"], &["B=3", "C=4", "C=5"], true),
        ["PATH=/x", "HOSTNAME=a1b2c3d4e5f6", "TERM=xterm", "B=3", "C=5", "A=1"]
    );
    // a bare key takes a variable away, the image's too
    assert_eq!(env(&["A=1"], &["A", "TERM=dumb"], true)[2..], ["TERM=dumb"]);
}

#[test]
fn a_variable_needs_a_name() {
    let refused = try_merge(&image(), RunOptions { env: words("=x"), ..options() });
    assert_eq!(refused.err(), Some(MergeError::EnvName("=x".to_owned())));
}

#[test]
fn the_host_name_is_the_short_id_but_on_the_hosts_network() {
    let of = |network, hostname: Option<&str>| {
        let hostname = hostname.map(str::to_owned);
        try_merge(&image(), RunOptions { network, hostname, ..options() }).unwrap().hostname
    };
    assert_eq!(of(NetworkMode::None, None).as_deref(), Some("a1b2c3d4e5f6"));
    assert_eq!(of(NetworkMode::Host, None), None);
    assert_eq!(of(NetworkMode::Host, Some("me")).as_deref(), Some("me"));
}

#[test]
fn working_directories() {
    for (image_dir, own, expected) in [
        ("", None, Some("/")),
        ("/srv/app/", None, Some("/srv/app")),
        ("srv", None, Some("/srv")),
        ("/srv", Some("/tmp/../x"), Some("/x")),
        ("/srv", Some("relative"), None),
    ] {
        let image = oci::Config { working_dir: image_dir.to_owned(), ..image() };
        let options = RunOptions { working_dir: own.map(str::to_owned), ..options() };
        let found = try_merge(&image, options).map(|config| config.working_dir);
        assert_eq!(found.ok().as_deref(), expected, "{image_dir} {own:?}");
    }
}

fn bind(target: &str) -> Mount {
    let kind = MountKind::Bind { source: Path::new("/src").to_owned(), create: true };
    Mount { kind, target: target.to_owned(), read_only: false }
}

fn targets(image_volumes: &[&str], own: &[&str]) -> Result<Vec<String>, MergeError> {
    let volumes = image_volumes.iter().map(|&path| (path.to_owned(), true.into())).collect();
    let image = oci::Config { volumes, ..image() };
    let mounts = own.iter().map(|target| bind(target)).collect();
    let config = try_merge(&image, RunOptions { mounts, ..options() })?;
    Ok(config
        .mounts
        .iter()
        .map(|mount| match &mount.kind {
            MountKind::Volume { anonymous: true, .. } => format!("volume {}", mount.target),
            _ => format!("bind {}", mount.target),
        })
        .collect())
}

#[test]
fn volumes_of_the_image_become_anonymous_unless_covered() {
    let check = |image: &[&str], own: &[&str], expected: &[&str]| {
        assert_eq!(targets(image, own).unwrap(), expected, "{image:?} {own:?}");
    };
    check(&["/data"], &[], &["volume /data"]);
    check(&["/data/"], &["/data"], &["bind /data"]);
    check(&["/data", "/", "x"], &["/data/sub"], &["volume /data", "bind /data/sub"]);
    check(&[], &["/a/b", "/a"], &["bind /a", "bind /a/b"]);
}

#[test]
fn mount_targets_are_checked() {
    let duplicate = MergeError::DuplicateTarget("/a".to_owned());
    assert_eq!(targets(&[], &["/a", "/a/."]), Err(duplicate));
    for target in ["/", "a", "", "/.."] {
        let refused = MergeError::MountTarget(target.to_owned());
        assert_eq!(targets(&[], &[target]), Err(refused));
    }
}

#[test]
fn health_checks_inherit_field_by_field() {
    let of_image =
        Healthcheck { test: words("CMD probe"), interval: 7, retries: 9, ..Healthcheck::default() };
    let image = oci::Config { healthcheck: Some(of_image.clone()), ..image() };
    let with = |disable, check| {
        let health = HealthOptions { disable, check };
        try_merge(&image, RunOptions { health, ..options() }).map(|config| config.healthcheck)
    };
    assert_eq!(with(false, None), Ok(Some(of_image.clone())));
    assert_eq!(with(true, None), Ok(None));
    let own = Healthcheck { interval: 3, ..Healthcheck::default() };
    let merged = Healthcheck { interval: 3, ..of_image };
    assert_eq!(with(false, Some(own)), Ok(Some(merged)));
    let test = |text| Some(Healthcheck { test: words(text), ..Healthcheck::default() });
    assert_eq!(with(false, test("NONE")), Ok(None));
    assert_eq!(with(false, test("CMD")), Err(MergeError::HealthCommand("CMD".to_owned())));
    assert!(matches!(with(false, test("curl x")), Err(MergeError::HealthTest(_))));
}

#[test]
fn labels_signal_user_and_ports() {
    let image = oci::Config {
        labels: [("a", "1"), ("b", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        stop_signal: Some("SIGQUIT".to_owned()),
        user: "www".to_owned(),
        exposed_ports: ["80/tcp", "53/udp", "9/sctp"]
            .map(|port| (port.to_owned(), true.into()))
            .into(),
        ..image()
    };
    let options = RunOptions {
        labels: [("b".to_owned(), "2".to_owned())].into(),
        publish_all: true,
        publish: vec![Port {
            host_ip: None,
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Tcp,
        }],
        ..options()
    };
    let config = try_merge(&image, options).unwrap();
    assert_eq!(config.labels.values().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((config.stop_signal, config.user.as_str()), (3, "www"));
    let ports: Vec<_> = config.ports.iter().map(|p| (p.host_port, p.container_port)).collect();
    assert_eq!(ports, [(8080, 80), (0, 53)], "a published one is not published again");
    assert_eq!(config.name, "mellow-crane-b2c3");
}

#[test]
fn refuses_what_contradicts_itself() {
    let refused = |change: &dyn Fn(&mut RunOptions)| {
        let mut options = options();
        change(&mut options);
        try_merge(&image(), options).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        refused(&|o| (o.auto_remove, o.restart) = (true, RestartPolicy::Always)),
        @"a container that is removed when it exits (`--rm`) cannot have restart policy `always`: drop one of them"
    );
    insta::assert_snapshot!(
        refused(&|o| o.stop_signal = Some("SIGNOPE".to_owned())),
        @"`SIGNOPE` is not a signal: expected a name such as `SIGTERM` or a number from 1 to 64"
    );
    insta::assert_snapshot!(
        refused(&|o| o.name = Some("a/b".to_owned())),
        @"`a/b` is not a name: letters, digits, `_`, `.` and `-` are allowed, beginning with a letter or digit, 2 to 128 in all"
    );
}
