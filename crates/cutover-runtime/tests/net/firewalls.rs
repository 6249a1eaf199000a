//! Our rules as nft shows them, and other firewalls on the host.

use cutover_runtime::net::NetworkConfig;

use crate::world::{FAR, HOST, Host, ask, cidr, endpoint, run, tcp};

#[test]
fn the_ruleset() {
    let host = Host::new();
    let subnet = Some(cidr("10.7.0.0/24"));
    host.network(NetworkConfig { subnet, ..NetworkConfig::named("app") });
    let subnet = Some(cidr("10.8.0.0/24"));
    host.network(NetworkConfig { subnet, internal: true, ..NetworkConfig::named("inner") });
    host.networks.remove("bridge").unwrap();
    let app = host.networks.inspect("app").unwrap().0;
    let inner = host.networks.inspect("inner").unwrap().0;
    let ns = crate::world::Ns::new();
    let ports = vec![tcp(8080, 80), crate::world::on([127, 0, 0, 1], tcp(8443, 443))];
    let endpoint = cutover_runtime::net::Endpoint { ports, ..endpoint("a") };
    let _attached = host.networks.attach(&app, ns.fd(), &endpoint).unwrap();
    let shown =
        run("nft", "-y list ruleset").replace(&app.bridge, "APP").replace(&inner.bridge, "INNER");
    insta::with_settings!({filters => vec![
        ("cutover-[0-9a-f]{8}", "cutover-HASH"),
        ("cutover [0-9a-f]{16}", "cutover FINGERPRINT"),
    ]}, {
        insta::assert_snapshot!(shown, @r#"
    table ip cutover-HASH {
    	comment "cutover FINGERPRINT"
    	map published_on {
    		type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
    		elements = { 127.0.0.1 . tcp . 8443 : 10.7.0.2 . 443 }
    	}

    	map published {
    		type inet_proto . inet_service : ipv4_addr . inet_service
    		elements = { tcp . 8080 : 10.7.0.2 . 80 }
    	}

    	chain raw {
    		type filter hook prerouting priority -300; policy accept;
    		iifname "lo" accept
    		ip daddr 127.0.0.0/8 drop
    		iifname "APP" ip saddr 127.0.0.0/8 drop
    		ip daddr 10.7.0.0/24 iifname != "APP" drop
    		iifname "INNER" ip saddr 127.0.0.0/8 drop
    		ip daddr 10.8.0.0/24 iifname != "INNER" drop
    	}

    	chain prerouting {
    		type nat hook prerouting priority -100; policy accept;
    		fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @published_on
    		fib daddr type local dnat ip to meta l4proto . th dport map @published
    	}

    	chain output {
    		type nat hook output priority -100; policy accept;
    		fib daddr type local dnat ip to ip daddr . meta l4proto . th dport map @published_on
    		fib daddr type local dnat ip to meta l4proto . th dport map @published
    	}

    	chain forward {
    		type filter hook forward priority 0; policy accept;
    		ct state established,related accept
    		iifname "APP" oifname "APP" accept
    		oifname "APP" ct status dnat accept
    		oifname "APP" drop
    		iifname "INNER" oifname "INNER" accept
    		iifname "INNER" drop
    		oifname "INNER" drop
    	}

    	chain postrouting {
    		type nat hook postrouting priority 100; policy accept;
    		ip saddr 10.7.0.0/24 oifname != "APP" masquerade
    		ip saddr 10.7.0.0/24 oifname "APP" ct status dnat masquerade
    		ip saddr 127.0.0.0/8 oifname "APP" masquerade
    	}
    }
    "#);
    });
}

#[test]
fn iptables_with_a_forward_policy_of_drop_lets_containers_through() {
    let host = Host::new();
    let outside = host.outside();
    let _far = outside.serve(80, "far");
    let web = host.container("web", &[tcp(8080, 80)]);
    let _server = web.serve(80);
    for policy in ["-P FORWARD DROP", "-P INPUT DROP", "-A INPUT -i lo -j ACCEPT"] {
        run("iptables-nft", policy);
    }
    run("iptables-nft", "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
    assert_eq!(web.ns.ask(FAR, 80), "silent", "the probe bites");
    let config = NetworkConfig::named("bridge");
    host.networks.ensure(&config).unwrap();
    assert_eq!(web.ns.ask(FAR, 80), format!("far {HOST}"));
    assert!(outside.ask(HOST, 8080).starts_with("web "));
    let dns = std::net::TcpListener::bind((host.bridge.gateway, 53)).unwrap();
    let _dns = crate::world::Server::start(dns, "dns");
    assert!(web.ns.ask(host.bridge.gateway, 53).starts_with("dns "));

    let rules = run("iptables-nft", "-S");
    host.networks.ensure(&config).unwrap();
    assert_eq!(run("iptables-nft", "-S"), rules, "once is enough");
    let shown = rules.replace(&host.bridge.bridge, "BRIDGE");
    insta::with_settings!({filters => vec![("cutover-[0-9a-f]{8}", "cutover-HASH")]}, {
        insta::assert_snapshot!(shown, @r#"
    -P INPUT DROP
    -P FORWARD DROP
    -P OUTPUT ACCEPT
    -A INPUT -i BRIDGE -p tcp -m tcp --dport 53 -m comment --comment "cutover-HASH:BRIDGE:dns-tcp" -j ACCEPT
    -A INPUT -i BRIDGE -p udp -m udp --dport 53 -m comment --comment "cutover-HASH:BRIDGE:dns-udp" -j ACCEPT
    -A INPUT -i lo -j ACCEPT
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A FORWARD -o BRIDGE -m comment --comment "cutover-HASH:BRIDGE:in" -j ACCEPT
    -A FORWARD -i BRIDGE -m comment --comment "cutover-HASH:BRIDGE:out" -j ACCEPT
    "#);
    });

    // docker's place for the rules of others goes before its own FORWARD
    run("iptables-nft", "-N DOCKER-USER");
    run("iptables-nft", "-A FORWARD -j DOCKER-USER");
    host.networks.ensure(&config).unwrap();
    let rules = run("iptables-nft", "-S").replace(&host.bridge.bridge, "BRIDGE");
    let ours: Vec<_> = rules.lines().filter(|line| line.contains("BRIDGE")).collect();
    assert_eq!(ours.iter().filter(|line| line.starts_with("-A DOCKER-USER")).count(), 2, "{rules}");
    assert_eq!(ours.iter().filter(|line| line.starts_with("-A FORWARD")).count(), 0, "{rules}");
    assert_eq!(web.ns.ask(FAR, 80), format!("far {HOST}"));

    host.networks.release(web.attached).unwrap();
    host.networks.remove("bridge").unwrap();
    let rules = run("iptables-nft", "-S");
    assert!(!rules.contains(&host.bridge.bridge), "{rules}");
}

#[test]
fn a_handwritten_drop_is_reported_and_left_alone() {
    let host = Host::new();
    assert!(host.networks.obstacles().unwrap().is_empty());
    run("nft", "add table inet mine");
    run(
        "nft",
        "add chain inet mine through { type filter hook forward priority 0 ; policy drop ; }",
    );
    assert_eq!(host.networks.obstacles().unwrap(), ["inet mine through"]);
}

#[test]
fn a_flushed_ruleset_comes_back() {
    let host = Host::new();
    let before = host.container("before", &[tcp(8080, 80)]);
    let _server = before.serve(80);
    run("nft", "flush ruleset");
    assert_eq!(ask([127, 0, 0, 1].into(), 8080), "connected, then silent", "only reserved");
    host.networks.ensure(&NetworkConfig::named("bridge")).unwrap();
    assert!(ask([127, 0, 0, 1].into(), 8080).starts_with("before "));
    run("nft", "flush ruleset");
    let after = host.container("after", &[tcp(8081, 80)]);
    let _server = after.serve(80);
    assert!(ask([127, 0, 0, 1].into(), 8080).starts_with("before "));
    assert!(ask([127, 0, 0, 1].into(), 8081).starts_with("after "));
}
