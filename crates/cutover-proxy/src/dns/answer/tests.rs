use super::*;

fn zone() -> Zone {
    let names = |entries: &[(&str, &[&str])]| {
        let parse = |addrs: &[&str]| addrs.iter().map(|addr| addr.parse().unwrap()).collect();
        entries.iter().map(|(name, addrs)| ((*name).to_owned(), parse(addrs))).collect()
    };
    let network = NetworkNames {
        network: "app/default".into(),
        generation: 1,
        listen: Vec::new(),
        subnets: vec!["10.89.1.0/24".into()],
        names: names(&[
            ("db", &["10.89.1.2", "10.89.1.3", "fd00::2"]),
            ("Web.App", &["10.89.1.4"]),
            ("none", &[]),
        ]),
        ..NetworkNames::default()
    };
    Zone::new(&[&network], &[])
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new();
    let query = Query::query(Name::from_ascii(name).unwrap(), kind);
    message.set_id(7).set_recursion_desired(true).add_query(query);
    message.to_vec().unwrap()
}

#[track_caller]
fn check(name: &str, kind: RecordType, turn: usize, expected: &str) {
    let asker = "10.89.1.9".parse().unwrap();
    let found = match zone().answer(&question(name, kind), asker, turn) {
        Answer::Silence => "silence".to_owned(),
        Answer::Forward(query) => format!("forward {}", query.name()),
        Answer::Reply(message) => {
            assert_eq!((message.id(), message.message_type()), (7, MessageType::Response));
            let data = message.answers().iter().map(|record| record.data().to_string());
            let data: Vec<_> = data.collect();
            format!("{} {}", message.response_code(), data.join(" "))
        }
    };
    assert_eq!(found, expected, "{name} {kind}");
}

#[test]
fn names_of_the_network_have_their_addresses() {
    use RecordType::{A, AAAA, MX};
    check("db.", A, 0, "No Error 10.89.1.2 10.89.1.3");
    check("db.", A, 1, "No Error 10.89.1.3 10.89.1.2");
    check("DB.", AAAA, 0, "No Error fd00::2");
    check("db.", MX, 0, "No Error ");
    check("web.app.", A, 0, "No Error 10.89.1.4");
    check("web.app.", AAAA, 0, "No Error ");
    check("none.", A, 0, "No Error ");
}

#[test]
fn other_names_are_for_the_resolvers_but_single_labels_stay_here() {
    check("example.org.", RecordType::A, 0, "forward example.org.");
    check("other.", RecordType::A, 0, "Non-Existent Domain ");
    check("x.db.", RecordType::A, 0, "forward x.db.");
}

#[test]
fn addresses_of_the_network_are_never_looked_up_elsewhere() {
    use RecordType::PTR;
    check("2.1.89.10.in-addr.arpa.", PTR, 0, "No Error db.");
    check("200.1.89.10.in-addr.arpa.", PTR, 0, "Non-Existent Domain ");
    check("8.8.8.8.in-addr.arpa.", PTR, 0, "forward 8.8.8.8.in-addr.arpa.");
}

#[test]
fn strangers_are_refused() {
    let datagram = question("db.", RecordType::A);
    for (asker, refused) in
        [("10.89.1.9", false), ("10.89.2.9", true), ("127.0.0.1", false), ("fd00::9", true)]
    {
        let Answer::Reply(message) = zone().answer(&datagram, asker.parse().unwrap(), 0) else {
            panic!("no reply for {asker}");
        };
        assert_eq!(message.response_code() == ResponseCode::Refused, refused, "{asker}");
    }
}

#[test]
fn what_is_no_question_gets_no_answer() {
    let asker = "10.89.1.9".parse().unwrap();
    let mut response = Message::from_vec(&question("db.", RecordType::A)).unwrap();
    response.set_message_type(MessageType::Response);
    for datagram in [&b""[..], b"x", &[0xff; 40], &response.to_vec().unwrap()] {
        assert!(matches!(zone().answer(datagram, asker, 0), Answer::Silence));
    }
}

#[test]
fn an_answer_too_large_for_a_datagram_says_so() {
    let mut names = NetworkNames { network: "n".into(), generation: 1, ..Default::default() };
    let many = (0..200).map(|index| IpAddr::from([10, 0, 0, index])).collect();
    names.names.insert("many".into(), many);
    let datagram = question("many.", RecordType::A);
    let asker = "10.0.0.1".parse().unwrap();
    let reply = || match Zone::new(&[&names], &[]).answer(&datagram, asker, 0) {
        Answer::Reply(message) => *message,
        other => panic!("{other:?}"),
    };
    let udp = Message::from_vec(&encode(reply(), &datagram, true).unwrap()).unwrap();
    assert!(udp.truncated() && udp.answers().is_empty());
    let tcp = Message::from_vec(&encode(reply(), &datagram, false).unwrap()).unwrap();
    assert_eq!((tcp.truncated(), tcp.answers().len()), (false, 200));
}

#[test]
fn text_that_is_no_name_is_none() {
    for (text, expected) in
        [("db", true), ("a.b", true), ("", false), (".", false), ("a..b", false)]
    {
        assert_eq!(parse_name(text).is_some(), expected, "{text}");
    }
}

/// One network's names, from `name=ADDR` words; after `|` those of a preview, after `!` whom it is
/// not for.
fn network(text: &str) -> NetworkNames {
    let mut network =
        NetworkNames { subnets: vec!["10.0.0.0/8".into()], ..NetworkNames::default() };
    let names = |text: &str| -> BTreeMap<String, Vec<IpAddr>> {
        let pairs = text.split_whitespace().map(|word| word.split_once('=').unwrap());
        pairs.map(|(name, addr)| (name.into(), vec![addr.parse().unwrap()])).collect()
    };
    let (now, then) = text.split_once('|').unwrap_or((text, ""));
    network.names = names(now);
    if let Some((then, not_for)) = then.split_once('!') {
        let not_for = not_for.split_whitespace().map(|addr| addr.parse().unwrap()).collect();
        network.preview = Some(Preview { names: names(then), not_for });
    }
    network
}

#[track_caller]
fn means(zone: &Zone, asker: &str, name: &str, expected: &str) {
    let asker = asker.parse().unwrap();
    let mut found: Vec<String> = zone
        .means(&parse_name(name).unwrap(), asker)
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    found.sort();
    assert_eq!(found.join(" "), expected, "{name} for {asker}");
}

#[test]
fn who_is_new_finds_what_is_new() {
    let one = network("api=10.0.0.1 db=10.0.0.9 | api=10.0.0.2 ! 10.0.0.5 10.0.0.1");
    let zone = Zone::new(&[&one], &[]);
    means(&zone, "10.0.0.5", "api", "10.0.0.1");
    means(&zone, "10.0.0.6", "api", "10.0.0.2");
    means(&zone, "10.0.0.6", "db", "10.0.0.9");
    means(&zone, "10.0.0.6", "none", "");
}

#[test]
fn apps_on_one_network_find_each_other() {
    let (shop, blog) =
        (network("web=10.0.0.1 cart=10.0.0.2"), network("web=10.0.0.3 feed=10.0.0.4"));
    let zone = Zone::new(&[&shop, &blog], &[]);
    means(&zone, "10.0.0.9", "cart", "10.0.0.2");
    means(&zone, "10.0.0.9", "feed", "10.0.0.4");
    means(&zone, "10.0.0.9", "web", "10.0.0.1 10.0.0.3");
}

#[test]
fn other_networks_are_asked_after_ones_own() {
    let (own, shared) = (network("web=10.0.0.1"), network("web=10.1.0.1 feed=10.1.0.2"));
    let zone = Zone::new(&[&own], &[&shared]);
    means(&zone, "10.0.0.9", "web", "10.0.0.1");
    means(&zone, "10.0.0.9", "feed", "10.1.0.2");
}
