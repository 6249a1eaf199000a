//! Every form in which a thing can be written, and what it becomes.

use std::time::Duration;

use super::{Case, parse_text, web, web_text};
use crate::service::*;

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn commands() {
    let check = |written: &str, expected: &[&str]| {
        assert_eq!(web(&format!("command: {written}")).command, Some(words(expected)), "{written}");
    };
    check("nginx -g 'daemon off;'", &["nginx", "-g", "daemon off;"]);
    check(r#"sh -c "echo \"$$HOME\"""#, &["sh", "-c", r#"echo "$HOME""#]);
    check("[a, 'b c', 3]", &["a", "b c", "3"]);
    check("[]", &[]);
    check("''", &[]);
    assert_eq!(web("command:").command, None);
    assert_eq!(web("entrypoint: /run it").entrypoint, Some(words(&["/run", "it"])));
}

#[test]
fn environment() {
    let check = |body: &str, expected: &str| {
        let mut case = Case::new(&web_text(body));
        case.environment = vec![("FROM_ENV", "e")];
        case.dot_env = Some("FROM_DOT=d\nFROM_ENV=lost".to_owned());
        case.disk = vec![
            ("/srv/shop/a.env", "A=a\nB=b # comment\nQ=\"x $FROM_ENV\"\n"),
            ("/srv/shop/raw.env", "A=raw # not a comment\n"),
        ];
        let project = case.parse().unwrap();
        let pairs = &project.services["web"].environment;
        let text: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(text.join("|"), expected, "{body}");
    };
    check("environment: {A: 1, B: two, C: true, D: ''}", "A=1|B=two|C=true|D=");
    check("environment: [A=1, 'B=x=y', C=]", "A=1|B=x=y|C=");
    check("environment: [FROM_ENV, FROM_DOT, NOWHERE]", "FROM_ENV=e|FROM_DOT=d");
    check("environment: {FROM_ENV: , NOWHERE: null}", "FROM_ENV=e");
    check("environment: {A: '${FROM_DOT}-${FROM_ENV}'}", "A=d-e");
    check("env_file: a.env", "A=a|B=b|Q=x e");
    check("env_file: [a.env, {path: raw.env, format: raw}]", "A=raw # not a comment|B=b|Q=x e");
    check("env_file: [{path: none.env, required: false}]", "");
    check("env_file: a.env\nenvironment: {B: over, A: }", "B=over|Q=x e");
}

#[test]
fn mounts() {
    let volume = |name: &str, external: bool| {
        Some(Volume { name: name.to_owned(), external, ..Volume::default() })
    };
    let bind = |source: &str| MountKind::Bind {
        source: source.to_owned(),
        create: true,
        recursive: true,
        propagation: None,
    };
    let named = |volume| MountKind::Volume { volume, no_copy: false, subpath: None };
    let check = |written: &str, kind: MountKind, target: &str, read_only: bool| {
        let service = web(&format!("volumes:\n  - {written}"));
        let expected = Mount { kind, target: target.to_owned(), read_only };
        assert_eq!(service.volumes, [expected], "{written}");
    };
    check("./src:/src", bind("/srv/shop/src"), "/src", false);
    check("../x:/src:ro", bind("/srv/x"), "/src", true);
    check("~/x:/src:rw,z", bind("/home/me/x"), "/src", false);
    check("/etc:/etc2:ro", bind("/etc"), "/etc2", true);
    check("data:/data", named(volume("shop_data", false)), "/data", false);
    check("cache:/c:ro", named(volume("shared-cache", true)), "/c", true);
    check("/anonymous", named(None), "/anonymous", false);
    check("{type: bind, source: src, target: /src}", bind("/srv/shop/src"), "/src", false);
    check("{type: volume, target: /v}", named(None), "/v", false);
    check(
        "{type: volume, source: data, target: /v/, volume: {nocopy: true, subpath: a/b}}",
        MountKind::Volume {
            volume: volume("shop_data", false),
            no_copy: true,
            subpath: Some("a/b".to_owned()),
        },
        "/v",
        false,
    );
    check(
        "{type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}",
        MountKind::Tmpfs { size: Some(1 << 20), mode: Some(0o700) },
        "/t",
        false,
    );
    let tmpfs = web("tmpfs: /run:size=64k,mode=1777");
    assert_eq!(tmpfs.volumes[0].kind, MountKind::Tmpfs { size: Some(65536), mode: Some(0o1777) });
    assert_eq!(web("volumes: ['data:/d', 'cache:/c', './x:/x']").owned_volumes().count(), 2);
    assert_eq!(web("volumes: ['data:/d:ro']").owned_volumes().count(), 0);
}

#[test]
fn secrets_and_configs() {
    let service = web("secrets: [password]\nconfigs: [site]");
    let secret = &service.secrets[0];
    assert_eq!(secret.target, "/run/secrets/password");
    assert_eq!(secret.from, FileSource::File("/srv/shop/pw.txt".to_owned()));
    assert_eq!((secret.uid, secret.gid, secret.mode), (0, 0, 0o444));
    assert_eq!(service.configs[0].target, "/site");
    let long = web("secrets: [{source: password, target: pw, uid: '33', mode: 0o400}]");
    assert_eq!(long.secrets[0].target, "/run/secrets/pw");
    assert_eq!((long.secrets[0].uid, long.secrets[0].mode), (33, 0o400));
    let long = web("secrets: [{source: password, target: /etc/pw, mode: '0440'}]");
    assert_eq!((long.secrets[0].target.as_str(), long.secrets[0].mode), ("/etc/pw", 0o440));
}

#[test]
fn ports() {
    let check = |written: &str, expected: &str| {
        let service = web(&format!("ports:\n  - {written}"));
        let ports: Vec<_> = service.ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports.join(" "), expected, "{written}");
    };
    check("80", "80/tcp");
    check("'8080:80'", "8080:80/tcp");
    check("'127.0.0.1:8080:80/udp'", "127.0.0.1:8080:80/udp");
    check("'127.0.0.1::80'", "127.0.0.1::80/tcp");
    check("'[::1]:8080:80'", "[::1]:8080:80/tcp");
    check("'8000-8002:80-82'", "8000:80/tcp 8001:81/tcp 8002:82/tcp");
    check("'8000-8002:80'", "8000-8002:80/tcp");
    check("'3000-3001'", "3000/tcp 3001/tcp");
    check("{target: 80, published: '8080', protocol: udp}", "8080:80/udp");
    check("{target: 80, published: 8000-8001, host_ip: '::1'}", "[::1]:8000-8001:80/tcp");
    check("{target: 80, mode: host, name: web, app_protocol: http}", "80/tcp");
    assert_eq!(web("ports: ['80:80', '81', '8000-8002:80']").fixed_ports().count(), 1);
}

#[test]
fn networks() {
    let joined = |body: &str| {
        let service = web(body);
        let names = service.networks.values().map(|it| it.network.name.clone());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(joined(""), "shop_default");
    assert_eq!(joined("networks: [front, back]"), "shop_front shop_back");
    assert_eq!(joined("networks: {front: , default: {aliases: [www]}}"), "shop_front shop_default");
    assert_eq!(joined("network_mode: none"), "");
    let service = web("networks: {front: {aliases: [www], ipv4_address: 10.0.0.9}, back: {}}");
    assert_eq!(service.networks["front"].aliases, ["www"]);
    assert_eq!(service.networks["front"].ipv4_address, Some([10, 0, 0, 9].into()));
    assert!(service.networks["back"].network.internal);
    let project = parse_text("services: {a: {image: x, network_mode: host}}").unwrap();
    assert!(project.networks.is_empty(), "an unused default network is not made");
}

#[test]
fn extra_hosts() {
    let expected = [("me".to_owned(), "host-gateway".to_owned())];
    for written in ["['me:host-gateway']", "['me=host-gateway']", "{me: host-gateway}"] {
        assert_eq!(web(&format!("extra_hosts: {written}")).extra_hosts, expected, "{written}");
    }
    let six = web("extra_hosts: ['six:::1', 'seven=[::1]']").extra_hosts;
    assert_eq!(six[0].1, "::1");
    assert_eq!(six[1].1, "::1");
}

#[test]
fn healthchecks() {
    let check = |written: &str, expected: HealthcheckTest| {
        let service = web(&format!("healthcheck: {{test: {written}}}"));
        assert_eq!(service.healthcheck.unwrap().test, Some(expected), "{written}");
    };
    check("curl -f x", HealthcheckTest::Shell("curl -f x".to_owned()));
    check(
        "[CMD-SHELL, curl -f x || exit 1]",
        HealthcheckTest::Shell("curl -f x || exit 1".to_owned()),
    );
    check("[CMD, curl, -f]", HealthcheckTest::Cmd(words(&["curl", "-f"])));
    check("[NONE]", HealthcheckTest::None);
    let off = web("healthcheck: {disable: true}").healthcheck.unwrap();
    assert_eq!(off.test, Some(HealthcheckTest::None));
    let partial = web("healthcheck: {interval: 90s, retries: 2}").healthcheck.unwrap();
    assert_eq!(partial.test, None, "the image's test is kept");
    assert_eq!(partial.interval, Some(Duration::from_secs(90)));
}

#[test]
fn hooks() {
    let service = web(
        "pre_start:\n  - command: php migrate.php\n  - {image: tools, per_replica: true}\npost_start: [{command: [a], environment: [X=1]}]",
    );
    assert_eq!(service.pre_start[0].command, ["php", "migrate.php"]);
    assert!(!service.pre_start[0].per_replica, "once per deployment unless written");
    assert_eq!(service.pre_start[1].image.as_ref().unwrap().to_string(), "tools:latest");
    assert!(service.pre_start[1].per_replica && service.pre_start[1].command.is_empty());
    assert_eq!(service.post_start[0].environment["X"], "1");
}

#[test]
fn dependencies() {
    for (written, condition) in [
        ("[db]", Condition::ServiceStarted),
        ("{db: }", Condition::ServiceStarted),
        ("{db: {condition: service_healthy, restart: true}}", Condition::ServiceHealthy),
    ] {
        let service = web(&format!("depends_on: {written}"));
        assert_eq!(service.depends_on["db"], condition, "{written}");
    }
    let optional = web("depends_on: {gone: {condition: service_started, required: false}}");
    assert!(optional.depends_on.is_empty());
}

#[test]
fn deploy_tells_written_from_defaulted() {
    let default = web("");
    assert_eq!(default.deploy, Deploy::default());
    assert_eq!(default.deploy.update.order, None);
    assert_eq!(default.deploy.update.failure_action, FailureAction::Rollback);
    assert_eq!(default.deploy.rollback.failure_action, FailureAction::Pause);
    assert_eq!(default.restart_policy(), Restart::UnlessStopped);
    let written = web("deploy: {replicas: 3, update_config: {order: start-first, monitor: 0s}}");
    assert_eq!(written.deploy.update.order, Some(Order::StartFirst));
    assert_eq!(written.deploy.update.monitor, Duration::ZERO);
    assert_eq!(written.deploy.replicas, 3);
    assert_eq!(web("scale: 2").deploy.replicas, 2);
    assert_eq!(web("restart: 'no'").restart, Some(Restart::No));
    assert_eq!(web("restart: no").restart, Some(Restart::No));
    let limited = web("restart: on-failure:5").restart;
    assert_eq!(limited, Some(Restart::OnFailure { max_retries: Some(5) }));
    let any = web("deploy: {restart_policy: {condition: any}}").restart;
    assert_eq!(any, Some(Restart::Always));
}

#[test]
fn resources() {
    let old = web("mem_limit: 512m\ncpus: 1.5\npids_limit: 50\nshm_size: 1gb\nmemswap_limit: -1");
    let new = web(
        "deploy: {resources: {limits: {memory: 512M, cpus: '1.5', pids: 50}}}\nshm_size: 1g\nmemswap_limit: -1",
    );
    assert_eq!(old.resources, new.resources);
    assert_eq!(old.resources.memory, Some(512 << 20));
    assert_eq!(old.resources.nano_cpus, Some(1_500_000_000));
    let limits = web("ulimits: {nproc: 65535, nofile: {soft: 20, hard: 40}, core: -1}").ulimits;
    assert_eq!(limits["nproc"], Ulimit { soft: 65535, hard: 65535 });
    assert_eq!(limits["nofile"], Ulimit { soft: 20, hard: 40 });
    assert_eq!(web("cap_add: [CAP_NET_ADMIN, sys_time]").cap_add, ["NET_ADMIN", "SYS_TIME"]);
    assert_eq!(
        web("devices: ['/dev/fuse', '/dev/a:/dev/b:r']").devices,
        ["/dev/fuse:/dev/fuse:rwm", "/dev/a:/dev/b:r"]
    );
}

#[test]
fn builds() {
    let short = web("build: ./web").build.unwrap();
    assert_eq!(short.context, "/srv/shop/web");
    assert_eq!(short.dockerfile.as_deref(), Some("/srv/shop/web/Dockerfile"));
    let long = web("build: {context: web, dockerfile: ../Dockerfile.prod, args: [A=1, HOME, NO]}");
    let long = long.build.unwrap();
    assert_eq!(long.dockerfile.as_deref(), Some("/srv/shop/Dockerfile.prod"));
    assert_eq!(long.args.get("A").map(String::as_str), Some("1"));
    assert_eq!(long.args.get("HOME").map(String::as_str), Some("/home/me"));
    assert_eq!(long.args.get("NO"), None);
    let inline = web("build: {dockerfile_inline: 'FROM scratch'}").build.unwrap();
    assert_eq!((inline.context.as_str(), inline.dockerfile), ("/srv/shop", None));
    let project = parse_text("services: {a: {build: .}}").unwrap();
    assert_eq!(project.services["a"].image, None);
}

#[test]
fn what_run_may_use() {
    let project = parse_text(
        "secrets: {token: {file: t.txt}, key: {environment: KEY}}\n\
         services:\n  a:\n    build:\n      context: .\n      secrets: [token, {source: key, target: k}]\n      \
         ssh: [default, git=run/agent]\n      ulimits: {nofile: {soft: 1, hard: 2}, core: 0}\n      \
         shm_size: 1g\n      entitlements: [network.host]\n",
    );
    let project = project.unwrap();
    let build = project.services["a"].build.clone().unwrap();
    let secrets: Vec<String> =
        build.secrets.iter().map(|(id, from)| format!("{id} {from:?}")).collect();
    assert_eq!(secrets, ["token File(\"/srv/shop/t.txt\")", "k Environment(\"KEY\")"]);
    assert_eq!(build.ssh["default"], None);
    assert_eq!(build.ssh["git"].as_deref(), Some("/srv/shop/run/agent"));
    assert_eq!((build.ulimits["nofile"].hard, build.ulimits["core"].soft), (2, 0));
    assert_eq!(build.shm_size, Some(1 << 30));
    assert_eq!(build.entitlements, [Entitlement::NetworkHost]);
}

#[test]
fn images_without_a_dockerfile() {
    let service = web(
        "build: {context: web, x-cutover: {from: 'debian:bookworm-slim', provision: [shell=setup.sh, {ansible: site.yml}], change: 'CMD [\"a\"]'}}",
    );
    let provision = service.build.unwrap().provision.unwrap();
    assert_eq!(provision.from, "debian:bookworm-slim");
    assert_eq!(provision.steps, ["shell=setup.sh", "ansible=site.yml"]);
    assert_eq!(provision.changes, ["CMD [\"a\"]"]);
}

#[test]
fn a_routable_service_in_few_lines() {
    let service = web(
        "x-cutover:\n  port: 80\n  routes: [{host: Example.org, path: /}]\n  verify: [{http: {path: /, status: 200, contains: hi}}, {command: [php, check.php]}]\n  standby: running\n  drain_timeout: 10s\n  hold_timeout: 30s\n  exec: taint\n  health: {path: /up}",
    );
    let cutover = service.cutover;
    assert_eq!(cutover.port, Some(80));
    assert_eq!(cutover.routes[0].to_string(), "example.org/");
    assert_eq!(cutover.health.unwrap().path, "/up");
    let Verify::Http(http) = &cutover.verify[0] else { panic!("http first") };
    assert!(http.status.contains(200) && !http.status.contains(204));
    assert_eq!(http.body_contains.as_deref(), Some("hi"));
    assert!(
        matches!(&cutover.verify[1], Verify::Command(check) if check.command == ["php", "check.php"])
    );
    assert_eq!(cutover.drain_timeout, Duration::from_secs(10));
    let short = web(
        "x-cutover: {port: 80, routes: '*.example.org/api/', health: /up, verify: [{http: /}]}",
    );
    assert_eq!(short.cutover.routes[0].to_string(), "*.example.org/api");
    assert_eq!(web("").cutover, XCutover::default());
}

#[test]
fn anchors_aliases_and_merge_keys() {
    let text = "\
x-base: &base {image: nginx, environment: &env {A: 1, B: 2}}
services:
  a: *base
  b:
    <<: *base
    environment: {<<: *env, B: 3}
  c:
    <<: [{image: first}, *base]
";
    let project = parse_text(text).unwrap();
    let environment = |name: &str| {
        let mut pairs: Vec<_> =
            project.services[name].environment.iter().map(|(k, v)| format!("{k}{v}")).collect();
        pairs.sort();
        pairs.join(" ")
    };
    assert_eq!(environment("a"), "A1 B2");
    assert_eq!(environment("b"), "A1 B3");
    assert_eq!(environment("c"), "A1 B2");
    assert_eq!(project.services["c"].image.as_ref().unwrap().familiar_name(), "first");
}

#[test]
fn names() {
    let name = |case: &Case| case.parse().unwrap().name;
    let mut case = Case::new("services: {a: {image: x}}");
    assert_eq!(name(&case), "shop", "the folder's name");
    case = Case::new("name: my-app\nservices: {a: {image: x}}");
    assert_eq!(name(&case), "my-app");
    case.name = Some("Other App");
    assert_eq!(name(&case), "otherapp");
    case = Case::new("name: ${APP:-fallback}\nservices: {a: {image: x}}");
    assert_eq!(name(&case), "fallback");
}

#[test]
fn profiles() {
    let mut case = Case::new(
        "services:\n  a: {image: x}\n  b: {image: x, profiles: [debug]}\n  c: {image: x, profiles: [test]}",
    );
    let names = |case: &Case| case.parse().unwrap().services.keys().cloned().collect::<String>();
    assert_eq!(names(&case), "a");
    assert_eq!(case.parse().unwrap().disabled, ["b", "c"]);
    case.profiles = words(&["debug"]);
    assert_eq!(names(&case), "ab");
    case.profiles = words(&["*"]);
    assert_eq!(names(&case), "abc");
}
