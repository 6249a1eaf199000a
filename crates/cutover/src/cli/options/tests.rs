use clap::Parser;
use cutover_runtime::container::Id;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: ContainerOptions,
}

fn parse(flags: &[&str]) -> Result<RunOptions, String> {
    let line = std::iter::once("run").chain(flags.iter().copied());
    let options = Line::try_parse_from(line).map_err(|error| error.to_string())?.options;
    let id: Id = "0".repeat(64).parse().unwrap();
    let mut into = RunOptions::new(id, jiff::Timestamp::UNIX_EPOCH);
    let env = |key: &str| (key == "HOME").then(|| "/home/me".to_owned());
    let around = Surroundings { env: &env, cwd: Path::new("/home/me") };
    options.apply(&mut into, around).map_err(|failure| failure.to_string())?;
    Ok(into)
}

#[test]
fn the_callers_environment_fills_bare_keys() {
    let options = parse(&["-e", "HOME", "-e", "MISSING", "-e", "A=b=c"]).unwrap();
    assert_eq!(options.env, ["HOME=/home/me", "A=b=c"]);
}

#[test]
fn relative_binds_start_at_the_working_directory() {
    let options = parse(&["-v", "./a/../b:/x:ro", "-v", "data:/y", "-v", "/z"]).unwrap();
    let kinds: Vec<_> = options.mounts.into_iter().map(|mount| mount.kind).collect();
    assert_eq!(kinds[0], MountKind::Bind { source: "/home/me/b".into(), create: true });
    let volume = |name: Option<&str>| MountKind::Volume {
        name: name.map(str::to_owned),
        anonymous: name.is_none(),
        no_copy: false,
    };
    assert_eq!(kinds[1], volume(Some("data")));
    assert_eq!(kinds[2], volume(None));
}

#[test]
fn nothing_gains_privileges_unless_asked() {
    let nnp = |flags: &[&str]| parse(flags).unwrap().security.no_new_privileges;
    assert!(nnp(&[]));
    assert!(!nnp(&["--privileged"]));
    assert!(!nnp(&["--security-opt", "no-new-privileges=false"]));
}

#[test]
fn wrong_values_name_themselves() {
    let table: &[(&[&str], &str)] = &[
        (&["--restart", "sometimes"], "restart policy `sometimes`"),
        (&["--restart", "on-failure:x"], "restart policy `on-failure:x`"),
        (&["--memory", "12q"], "`12q`"),
        (&["--memory", "1m"], "at least 6m"),
        (&["--cpus", "0"], "`--cpus`"),
        (&["-p", "99999:80"], "99999"),
        (&["-p", "80/sctp"], "only tcp and udp"),
        (&["-v", "a:b"], "`a:b`"),
        (&["--tmpfs", "/x:colour=red"], "`colour=red`"),
        (&["--add-host", "nonsense"], "`nonsense`"),
        (&["--dns", "x"], "`x`"),
        (&["--ulimit", "nofile"], "`nofile`"),
        (&["--security-opt", "apparmor=x"], "`apparmor=x`"),
        (&["--log-opt", "tag=x"], "`tag=x`"),
        (&["--env-file", "/nonexistent"], "/nonexistent"),
        (&["--no-healthcheck", "--health-cmd", "true"], "--no-healthcheck"),
        (&["--network", "none", "--network-alias", "x"], "--network-alias"),
    ];
    for (flags, part) in table {
        let error = parse(flags).unwrap_err();
        assert!(error.contains(part), "{flags:?} says: {error}");
    }
}
