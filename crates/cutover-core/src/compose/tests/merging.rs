//! Several files, `!reset`, `!override`, `extends`.

use super::Case;
use crate::service::Service;

fn merged(base: &str, over: &str) -> Service {
    let indent = |body: &str| body.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let base = format!("services:\n  web:\n    image: nginx\n{}", indent(base));
    let over = format!(
        "services:\n  web:\n{}volumes: {{a: , b: }}\nsecrets: {{s: {{file: s}}}}",
        indent(over)
    );
    let mut case = Case::new(&base);
    case.files.push(("prod.yaml".to_owned(), over));
    let mut project = case.parse().unwrap_or_else(|problems| panic!("{problems}"));
    project.services.swap_remove("web").unwrap()
}

#[test]
fn single_values_and_maps() {
    let service = merged(
        "user: a\nhostname: h\ndeploy: {replicas: 2}",
        "user: b\nimage: x\ndeploy: {update_config: {delay: 1s}}",
    );
    assert_eq!(service.user.as_deref(), Some("b"));
    assert_eq!(service.hostname.as_deref(), Some("h"));
    assert_eq!(service.image.unwrap().familiar_name(), "x");
    assert_eq!(service.deploy.replicas, 2);
    assert_eq!(service.deploy.update.delay.as_secs(), 1);
}

#[test]
fn lists_and_maps_of_variables_meet() {
    let check = |base: &str, over: &str, expected: &str| {
        let service = merged(base, over);
        let pairs: Vec<_> = service.environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(pairs.join(" "), expected, "{base} + {over}");
    };
    check("environment: [A=1, B=2]", "environment: {B: 3, C: 4}", "A=1 B=3 C=4");
    check("environment: {A: 1}", "environment: [A=2]", "A=2");
    check("environment: {A: 1, B: 2}", "environment: {A: !reset null}", "B=2");
    check("environment: {A: 1}", "environment: !override {B: 2}", "B=2");
    check("environment: {A: 1}", "environment: !reset {}", "");
}

#[test]
fn commands_are_replaced() {
    let service = merged(
        "command: [a, b]\nhealthcheck: {test: [CMD, a]}",
        "command: [c]\nhealthcheck: {test: [NONE]}",
    );
    assert_eq!(service.command.unwrap(), ["c"]);
    assert_eq!(service.healthcheck.unwrap().test, Some(crate::service::HealthcheckTest::None));
}

#[test]
fn unique_lists() {
    let service = merged(
        "ports: ['80:80', '81:81']\nvolumes: ['a:/data', './x:/x']\nsecrets: [s]\ndns: 1.1.1.1\ncap_add: [A, B]",
        "ports: ['80:80', {target: 81, published: 81}, '82:82']\nvolumes: [{type: volume, source: b, target: /data}]\nsecrets: [{source: s, target: s, mode: 0400}]\ndns: [8.8.8.8]\ncap_add: [B, C]",
    );
    let ports: Vec<_> = service.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["80:80/tcp", "81:81/tcp", "82:82/tcp"]);
    assert_eq!(service.volumes.len(), 2);
    assert_eq!(service.owned_volumes().next().unwrap().name, "shop_b");
    assert_eq!(service.secrets.len(), 1);
    assert_eq!(service.secrets[0].mode, 0o400);
    assert_eq!(service.dns, ["1.1.1.1", "8.8.8.8"]);
    assert_eq!(service.cap_add, ["A", "B", "C"]);
    assert_eq!(merged("ports: ['80:80']", "ports: !override ['81:81']").ports.len(), 1);
    assert_eq!(merged("ports: ['80:80']", "ports: !reset []").ports.len(), 0);
}

#[test]
fn dependencies_in_both_forms() {
    let service = merged(
        "depends_on: [web2]",
        "depends_on: {web2: {condition: service_healthy, required: false}}",
    );
    assert!(service.depends_on.is_empty());
}

#[test]
fn an_error_names_the_file_it_is_in() {
    let mut case = Case::new("services: {web: {image: nginx}}");
    case.files.push(("prod.yaml".to_owned(), "services:\n  web: {ports: [x]}\n".to_owned()));
    let problems = case.parse().unwrap_err();
    assert_eq!((problems.0[0].file.as_str(), problems.0[0].line), ("prod.yaml", 2));
}

#[test]
fn extends_in_this_file_and_another() {
    let mut case = Case::new(
        "services:\n  base: {image: nginx, environment: {A: 1, B: 1}}\n  web:\n    extends: base\n    environment: {B: 2}\n  far:\n    extends: {file: lib/common.yaml, service: tool}\n",
    );
    case.disk = vec![(
        "/srv/shop/lib/common.yaml",
        "services:\n  tool: {extends: root, volumes: ['./here:/x']}\n  root: {image: tools}\n",
    )];
    let project = case.parse().unwrap_or_else(|problems| panic!("{problems}"));
    let web = &project.services["web"];
    assert_eq!(web.image.as_ref().unwrap().familiar_name(), "nginx");
    assert_eq!((web.environment["A"].as_str(), web.environment["B"].as_str()), ("1", "2"));
    let far = format!("{:?}", project.services["far"]);
    assert!(far.contains("/srv/shop/lib/here"), "paths start in the other file's folder: {far}");
}

#[test]
fn extends_that_go_wrong() {
    let check = |text: &str, expected: &str| {
        let problems = Case::new(text).parse().expect_err(text);
        assert_eq!(problems.0[0].message, expected, "{text}");
    };
    check("services: {a: {extends: b}, b: {extends: a}}", "the service extends itself");
    check("services: {a: {extends: a}}", "the service extends itself");
    check("services: {web: {image: x}, a: {extends: wen}}", "there is no service `wen` here");
    check(
        "services: {a: {extends: {file: no.yaml, service: x}}}",
        "`/srv/shop/no.yaml` does not exist",
    );
}
