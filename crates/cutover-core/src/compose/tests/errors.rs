//! The exact text that a user sees for a bad file.

use super::{Case, parse_text, web_text};
use insta::assert_snapshot;

fn errors(text: &str) -> String {
    parse_text(text).unwrap_err().to_string()
}

fn web_errors(body: &str) -> String {
    errors(&web_text(body))
}

/// Only the messages, for tables.
fn check(body: &str, expected: &[&str]) {
    let problems = parse_text(&web_text(body)).expect_err(body);
    let messages: Vec<_> =
        problems.0.iter().map(|problem| format!("{}: {}", problem.key, problem.message)).collect();
    assert_eq!(messages, expected, "in:\n{body}");
    for problem in &problems.0 {
        assert!(problem.line > 0 && problem.excerpt.is_some(), "no place: {problem}");
    }
}

#[test]
fn unknown_keys_have_a_suggestion() {
    assert_snapshot!(errors("services:\n  web:\n    imagee: nginx\n    x-mine: 1\n"), @"
      compose.yaml:3:5: `services.web.imagee`: unknown key
       3 |     imagee: nginx
         |     ^
        hint: did you mean `image`?
    ");
}

#[test]
fn all_problems_are_told_at_once() {
    let body = "\
ports: [\"80:8x\", 99999]
depends_on: [dbb]
volumes: [dat:/data]
enviroment: {A: b}
restart: sometimes
deploy: {update_config: {order: startfirst}}";
    assert_snapshot!(web_errors(body), @r#"
      compose.yaml:5:13: `services.web.ports[0]`: `80:8x` is not a port: write `[host-ip:][host-port:]container-port[/udp]`, e.g. `127.0.0.1:8080:80`
       5 |     ports: ["80:8x", 99999]
         |             ^

      compose.yaml:5:22: `services.web.ports[1]`: `99999` is not a port: a port is a number from 1 to 65535
       5 |     ports: ["80:8x", 99999]
         |                      ^

      compose.yaml:6:18: `services.web.depends_on[0]`: there is no service `dbb`
       6 |     depends_on: [dbb]
         |                  ^
        hint: did you mean `db`?

      compose.yaml:7:15: `services.web.volumes[0]`: volume `dat` is not declared
       7 |     volumes: [dat:/data]
         |               ^
        hint: did you mean `data`?

      compose.yaml:8:5: `services.web.enviroment`: unknown key
       8 |     enviroment: {A: b}
         |     ^
        hint: did you mean `environment`?

      compose.yaml:9:14: `services.web.restart`: `sometimes` must be one of `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:5`
       9 |     restart: sometimes
         |              ^

      compose.yaml:10:37: `services.web.deploy.update_config.order`: `startfirst` must be one of `start-first`, `stop-first`
       10 |     deploy: {update_config: {order: startfirst}}
          |                                     ^
        hint: did you mean `start-first`?
    "#);
}

#[test]
fn yaml_that_is_not_yaml() {
    assert_snapshot!(errors("services:\n  web: [a\n  db: x\n"), @"
      compose.yaml:3:5: not valid YAML: illegal placement of ':' indicator
       3 |   db: x
         |     ^
    ");
    assert_snapshot!(errors("services:\n\tweb: {}\n"), @"
      compose.yaml:2:2: not valid YAML: tabs disallowed within this context (block indentation)
       2 |  web: {}
         |  ^
        hint: YAML is indented with spaces; this line has a tab
    ");
    assert_snapshot!(errors("services:\n  a: {image: x}\n  a: {image: y}\n"), @"
      compose.yaml:3:3: `a` is written twice, first on line 2
       3 |   a: {image: y}
         |   ^
    ");
}

#[test]
fn files_that_say_nothing() {
    assert_snapshot!(errors(""), @"compose.yaml: the file is empty");
    assert_snapshot!(errors("# only a comment\n"), @"compose.yaml: the file is empty");
    assert_snapshot!(errors("name: x\n"), @"
      compose.yaml:1:1: there are no services
       1 | name: x
         | ^
        hint: add at least one under `services:`
    ");
    assert_snapshot!(errors("- a\n- b\n"), @"
      compose.yaml:1:1: must be a map, but is a list
       1 | - a
         | ^

      compose.yaml:1:1: there are no services
       1 | - a
         | ^
        hint: add at least one under `services:`
    ");
    assert_snapshot!(Case::default().parse().unwrap_err().to_string(), @"there is no compose file");
}

#[test]
fn keys_that_are_not_supported_say_why() {
    assert_snapshot!(errors("include: [other.yaml]\nservices: {a: {image: x, cpuset: '0'}}\n"), @"
      compose.yaml:1:1: `include`: not supported: give the files with several `-f` instead
       1 | include: [other.yaml]
         | ^

      compose.yaml:2:26: `services.a.cpuset`: not supported: containers are not pinned to CPUs
       2 | services: {a: {image: x, cpuset: '0'}}
         |                          ^
    ");
}

#[test]
fn a_key_in_the_wrong_place() {
    assert_snapshot!(web_errors("replicas: 3\nx-cutover: {host: a}"), @"
      compose.yaml:5:5: `services.web.replicas`: unknown key
       5 |     replicas: 3
         |     ^
        hint: `replicas` belongs under `services.*.deploy`

      compose.yaml:6:17: `services.web.x-cutover.host`: unknown key
       6 |     x-cutover: {host: a}
         |                 ^
        hint: `host` belongs under `services.*.x-cutover.routes`
    ");
    assert_snapshot!(errors("x-cutover: {port: 1}\nservices: {a: {image: x}}"), @"
      compose.yaml:1:1: `x-cutover`: not a key here
       1 | x-cutover: {port: 1}
         | ^
        hint: `x-cutover` belongs under a service
    ");
}

#[test]
fn variables() {
    let text = "services:\n  web:\n    image: ${IMAGE:?name the image}\n    command: echo $5\n";
    assert_snapshot!(errors(text), @"
      compose.yaml:3:12: `services.web.image`: required variable `IMAGE` is not set: name the image
       3 |     image: ${IMAGE:?name the image}
         |            ^

      compose.yaml:4:14: `services.web.command`: `$5` is not a variable: write `$$` for a dollar sign
       4 |     command: echo $5
         |              ^
    ");
}

#[test]
fn a_bad_dot_env() {
    let mut case = Case::new("services: {a: {image: x}}");
    case.dot_env = Some("OK=1\nBROKEN='x\n".to_owned());
    assert_snapshot!(case.parse().unwrap_err().to_string(), @"
      .env:2:1: a `'` is not closed
       2 | BROKEN='x
         | ^
    ");
}

#[test]
fn circles_and_missing_services() {
    let text = "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [a]}\n  d: {image: x, depends_on: [a]}\n";
    assert_snapshot!(errors(text), @"
      compose.yaml:2:29: `services.a.depends_on`: services depend on each other in a circle: a → b → c → a
       2 |   a: {image: x, depends_on: [b]}
         |                             ^
    ");
    let text = "services:\n  a: {image: x, depends_on: [off]}\n  off: {image: x, profiles: [p]}\n";
    assert_snapshot!(errors(text), @"
      compose.yaml:2:30: `services.a.depends_on[0]`: service `off` is not in the chosen profiles
       2 |   a: {image: x, depends_on: [off]}
         |                              ^
        hint: choose one of its profiles, or write `required: false`
    ");
}

#[test]
fn warnings_do_not_stop() {
    let project =
        parse_text("version: '3'\nservices:\n  a:\n    image: x$NO\n    container_name: c\n")
            .unwrap();
    let text: Vec<_> = project.warnings.iter().map(ToString::to_string).collect();
    assert_snapshot!(text.join("\n"), @"
      compose.yaml:1:1: warning: `version`: ignored: it is obsolete, the format has no versions
       1 | version: '3'
         | ^
      compose.yaml:4:12: warning: `services.a.image`: variable `NO` is not set and becomes nothing
       4 |     image: x$NO
         |            ^
      compose.yaml:5:5: warning: `services.a.container_name`: ignored: instances are named after app, service and release
       5 |     container_name: c
         |     ^
    ");
}

#[test]
fn every_wrong_form_is_named() {
    check(
        "command: 'a \"b'",
        &["services.web.command: `a \"b` is not a command: a `\"` is not closed"],
    );
    check(
        "ports: ['80-70']",
        &["services.web.ports[0]: `80-70` is not a port: the range ends before it starts"],
    );
    check("ports: ['80:80', '80:81']", &["services.web.ports[1]: `80:81/tcp` is published twice"]);
    check("ports: [{published: 80}]", &["services.web.ports[0]: `target` is missing"]);
    check(
        "volumes: ['./a:b']",
        &[
            "services.web.volumes[0]: `./a:b` is not a mount: `b` must be an absolute path in the container",
        ],
    );
    check(
        "volumes: ['./a:/']",
        &["services.web.volumes[0]: `./a:/` is not a mount: nothing can be mounted over `/`"],
    );
    check("volumes: ['./a:/b', './c:/b']", &["services.web.volumes[1]: `/b` is already mounted"]);
    check(
        "volumes: [{type: bind, target: /b}]",
        &["services.web.volumes[0]: a bind mount needs a `source`"],
    );
    check("volumes: [{source: data, target: /b}]", &["services.web.volumes[0]: `type` is missing"]);
    check(
        "volumes: [{type: tmpfs, target: /b, bind: {recursive: enabled}}]",
        &["services.web.volumes[0].bind: does not belong to this `type` of mount"],
    );
    check("secrets: [passwort]", &["services.web.secrets[0]: secret `passwort` is not declared"]);
    check("networks: [fron]", &["services.web.networks[0]: network `fron` is not declared"]);
    check(
        "network_mode: host\nports: ['80:80']",
        &[
            "services.web.ports: ports cannot be published with `network_mode: host`: they already are",
        ],
    );
    check(
        "healthcheck: {test: [curl, x]}",
        &["services.web.healthcheck.test: a list must start with `CMD`, `CMD-SHELL` or `NONE`"],
    );
    check(
        "healthcheck: {interval: 5}",
        &[
            "services.web.healthcheck.interval: `5` is not a duration: the unit is missing: write numbers with us, ms, s, m, h or d, e.g. `1m30s`",
        ],
    );
    check(
        "env_file: missing.env",
        &["services.web.env_file: `/srv/shop/missing.env` does not exist"],
    );
    check("environment: [\"=x\"]", &["services.web.environment[0]: `` is not a variable name"]);
    check("extra_hosts: ['a:b']", &["services.web.extra_hosts[0]: `b` is not an IP address"]);
    check("pre_start: [{user: a}]", &["services.web.pre_start[0]: `command` is missing"]);
    check(
        "post_start: [{command: a, image: b}]",
        &["services.web.post_start[0].image: unknown key"],
    );
    check(
        "mem_limit: 1m\ndeploy: {resources: {limits: {memory: 2m}}}",
        &[
            "services.web.deploy.resources.limits.memory: contradicts `mem_limit`: write only one of them",
        ],
    );
    check(
        "deploy: {replicas: -1}",
        &["services.web.deploy.replicas: `-1` must be a number of instances, 0 to 1000"],
    );
    check(
        "deploy: {rollback_config: {failure_action: rollback}}",
        &[
            "services.web.deploy.rollback_config.failure_action: `rollback` must be one of `pause`, `continue`",
        ],
    );
    check(
        "deploy: {mode: global}",
        &["services.web.deploy.mode: `global` is not supported: only `replicated` is"],
    );
    check(
        "deploy: {update_config: {max_failure_ratio: 2}}",
        &["services.web.deploy.update_config.max_failure_ratio: `2` must be from 0 to 1"],
    );
    check(
        "ulimits: {nofile: {soft: 1}}",
        &["services.web.ulimits.nofile: needs both `soft` and `hard`"],
    );
    check("ulimits: {files: 1}", &["services.web.ulimits.files: there is no limit `files`"]);
    check(
        "x-cutover: {routes: [{host: 'http://a'}], port: 1}",
        &[
            "services.web.x-cutover.routes[0].host: `http://a` is not a host name (without scheme and port)",
        ],
    );
    check(
        "x-cutover: {routes: [{path: api}], port: 1}",
        &["services.web.x-cutover.routes[0].path: `api` is not a path prefix such as `/api`"],
    );
    check(
        "x-cutover: {routes: [/]}",
        &[
            "services.web.x-cutover: `port` is missing: the proxy must know where the container listens",
        ],
    );
    check(
        "x-cutover: {routes: [/, /], port: 1}",
        &["services.web.x-cutover.routes: route `*/` is claimed twice"],
    );
    check(
        "x-cutover: {verify: [{}]}",
        &["services.web.x-cutover.verify[0]: needs exactly one of `http` and `command`"],
    );
    check(
        "x-cutover: {port: 80, verify: [{http: {status: 999}}]}",
        &[
            "services.web.x-cutover.verify[0].http.status: `999` is not an HTTP status (100 to 599), a range `200-299` or a list of them",
        ],
    );
    check(
        "x-cutover: {standby: off}",
        &[
            "services.web.x-cutover.standby: `off` must be one of `running`, `frozen`, `stopped`, `none`",
        ],
    );
    check("tty: [1]", &["services.web.tty: must be a text, but is a list"]);
    check(
        "labels: 3",
        &["services.web.labels: must be a map, or a list of `KEY=value`, but is a single value"],
    );
    check(
        "stop_signal: 9000",
        &["services.web.stop_signal: `9000` is not a signal such as `SIGTERM`"],
    );
    check(
        "devices: [fuse]",
        &["services.web.devices[0]: `fuse` is not a device: write `/dev/x[:/dev/y][:rwm]`"],
    );
    check(
        "build: {dockerfile: a, dockerfile_inline: b}",
        &["services.web.build.dockerfile: `dockerfile` and `dockerfile_inline` exclude each other"],
    );
    check(
        "build: {secrets: [none], ssh: [git], entitlements: [x]}",
        &[
            "services.web.build.secrets[0]: there is no secret `none`",
            "services.web.build.ssh[0]: agent `git` has no socket",
            "services.web.build.entitlements[0]: `x` must be one of `network.host`, `security.insecure`",
        ],
    );
    check(
        "build: {dockerfile: a, x-cutover: {provision: [chef=x, {shell: a, puppet: b}]}}",
        &[
            "services.web.build.dockerfile: `dockerfile` and `x-cutover` exclude each other",
            "services.web.build.x-cutover: `from` is missing",
            "services.web.build.x-cutover.provision[0]: `chef=x` is not `shell=FILE`, `ansible=PLAYBOOK` or `puppet=MANIFEST`",
            "services.web.build.x-cutover.provision[1]: a step has one of `shell`, `ansible`, `puppet`",
        ],
    );
    check(
        "depends_on: {db: {condition: healthy}}",
        &[
            "services.web.depends_on.db.condition: `healthy` must be one of `service_started`, `service_healthy`, `service_completed_successfully`",
        ],
    );
}
