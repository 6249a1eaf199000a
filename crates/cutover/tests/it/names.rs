//! What the names of services mean, and to whom.

use crate::deploy::Shop;

/// Both services change with VERSION; `web` shows what `api` said when it started.
const TWO: &str = "\
name: shop
services:
  web:
    image: busybox
    command:
      - sh
      - -c
      - |
        wget -qO- http://api/ > /tmp/index.html
        echo \"web $$VERSION\" >> /tmp/index.html
        exec httpd -f -p 80 -h /tmp
    environment: { VERSION: '${VERSION}' }
    depends_on: { api: { condition: service_healthy } }
    pre_start:
      - { command: [sh, -c, 'wget -qO- http://api/ | grep \"api ${VERSION}\"'], per_replica: false }
    stop_grace_period: 0s
    deploy: { update_config: { monitor: 0s } }
    x-cutover:
      port: 80
      routes: [{ path: / }]
      verify:
        - { command: [sh, -c, 'wget -qO- http://api/ | grep \"api ${VERSION}\"'] }
        - { http: { path: /, contains: '${WANTED:-web}' } }
  api:
    image: busybox
    command: [sh, -c, 'echo \"api $$VERSION\" > /tmp/index.html; exec httpd -f -p 80 -h /tmp']
    environment: { VERSION: '${VERSION}' }
    healthcheck: { test: [CMD, wget, -qO-, 'http://127.0.0.1/'], interval: 1s, start_period: 5s, start_interval: 100ms }
    stop_grace_period: 0s
    deploy: { update_config: { monitor: 0s } }
";

fn web(shop: &Shop, release: &str) -> String {
    let label = format!("label=cutover.release={release}");
    shop.root.ok(["ps", "-q", "-f", "label=cutover.service=web", "-f", &label])
}

fn ask_api(shop: &Shop, release: &str) -> String {
    shop.root.ok(["exec", &web(shop, release), "wget", "-qO-", "http://api/"])
}

#[test]
fn a_new_release_finds_itself_and_the_old_one_finds_itself() {
    let shop = Shop::new();
    shop.root.write("compose.yaml", TWO);
    shop.deploy("1");
    assert!(shop.get().ends_with("api 1\nweb 1\n"), "{}", shop.get());
    shop.deploy("2");
    assert!(shop.get().ends_with("api 2\nweb 2\n"), "{}", shop.get());
    assert_eq!(ask_api(&shop, "2"), "api 2");

    // fails at its last check, when everything of it has run: nothing of it may be found now
    let mut command = shop.root.command(["deploy"]);
    let said = command.env("VERSION", "3").env("WANTED", "nothing of the kind").output().unwrap();
    assert_eq!(said.status.code(), Some(5), "{}", String::from_utf8_lossy(&said.stderr));
    assert_eq!(ask_api(&shop, "2"), "api 2");
    let web = web(&shop, "2");
    let resolv = shop.root.ok(["exec", &web, "cat", "/etc/resolv.conf"]);
    let gateway = resolv.lines().find_map(|line| line.strip_prefix("nameserver ")).unwrap();
    let run = ["run", "--rm", "--network", "shop_default", "--dns", gateway, "busybox"];
    let args = run.into_iter().chain(["wget", "-qO-", "http://api/"]);
    assert_eq!(shop.root.ok(args), "api 2", "whoever is new finds what serves");
}

#[test]
fn apps_on_one_external_network_find_each_other() {
    let shop = Shop::new();
    shop.root.ok(["network", "create", "shared"]);
    let app = |name: &str, service: &str, networks: &str| {
        let text = format!(
            "\
name: {name}
services:
  {service}:
    image: busybox
    command: [sh, -c, 'echo i am {service} > /tmp/index.html; exec httpd -f -p 80 -h /tmp']
    networks: [{networks}]
    stop_grace_period: 0s
    deploy: {{ update_config: {{ monitor: 0s }} }}
networks: {{ shared: {{ external: true }}, own: {{}} }}
"
        );
        shop.root.write(&format!("{name}.yaml"), &text);
        shop.root.ok(["deploy", "-f", &format!("{name}.yaml")]);
        shop.root.ok(["ps", "-q", "-f", &format!("label=cutover.app={name}")])
    };
    let one = app("one", "alpha", "shared");
    let two = app("two", "beta", "shared");
    // asks the gateway of its own network, and is on the shared one, too
    let three = app("three", "gamma", "own, shared");
    for (container, names) in
        [(&one, ["beta", "gamma"]), (&two, ["alpha", "gamma"]), (&three, ["alpha", "beta"])]
    {
        for name in names {
            let said =
                shop.root.ok(["exec", container, "wget", "-qO-", &format!("http://{name}/")]);
            assert_eq!(said, format!("i am {name}"));
        }
    }
    shop.root.ok(["down", "--app", "two"]);
    let gone = shop.root.run(["exec", &one, "wget", "-qO-", "http://beta/"]);
    assert_ne!(gone.code, 0, "{}", gone.out);
    assert_eq!(shop.root.ok(["exec", &one, "wget", "-qO-", "http://gamma/"]), "i am gamma");
}
