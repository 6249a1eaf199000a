use super::*;
use proptest::prelude::*;

/// `host/prefix`, `*` for any host, a trailing `-` strips the prefix.
fn route(text: &str) -> Route {
    let (text, strip_prefix) = match text.strip_suffix('-') {
        Some(text) => (text, true),
        None => (text, false),
    };
    let slash = text.find('/').unwrap();
    let (host, path) = text.split_at(slash);
    let host = (host != "*").then(|| host.to_owned());
    Route { host, path_prefix: path.to_owned(), strip_prefix }
}

fn table(services: &[(&'static str, &[&str])]) -> Result<Routes<&'static str>, RouteError> {
    let services: Vec<_> = services
        .iter()
        .map(|(name, routes)| (*name, routes.iter().map(|text| route(text)).collect::<Vec<_>>()))
        .collect();
    Routes::build(services.iter().map(|(name, routes)| (*name, *name, routes.as_slice())))
}

#[track_caller]
fn check(services: &[(&'static str, &[&str])], cases: &[(&str, &str)]) {
    let routes = table(services).unwrap();
    for (request, expected) in cases {
        let (host, path) = request.split_at(request.find('/').unwrap());
        let found = routes.find(&normal_host(host).unwrap(), path);
        let found = found.map_or("none".to_owned(), |found| match found.strip {
            0 => found.to.to_owned(),
            strip => format!("{} {}", found.to, &path[strip..]),
        });
        assert_eq!(&found, expected, "{request}");
    }
}

#[test]
fn host_exact_then_wildcard_then_any() {
    check(
        &[
            ("exact", &["a.example.org/"]),
            ("near", &["*.b.example.org/"]),
            ("wide", &["*.example.org/"]),
            ("any", &["*/"]),
        ],
        &[
            ("a.example.org/", "exact"),
            ("A.Example.ORG:8080/x", "exact"),
            ("a.example.org./", "exact"),
            ("x.example.org/", "wide"),
            ("x.y.example.org/", "wide"),
            ("x.b.example.org/", "near"),
            ("b.example.org/", "wide"),
            ("example.org/", "any"),
            (".example.org/", "any"),
            ("xexample.org/", "any"),
            ("[::1]:80/", "any"),
            ("/", "any"),
        ],
    );
}

#[test]
fn longest_prefix_of_whole_segments() {
    check(
        &[("root", &["h/"]), ("api", &["h/api/"]), ("v2", &["h/api/v2"]), ("any", &["*/only-any"])],
        &[
            ("h/", "root"),
            ("h/ap", "root"),
            ("h/apix", "root"),
            ("h/api", "api"),
            ("h/api/", "api"),
            ("h/api/v1", "api"),
            ("h/api/v2", "v2"),
            ("h/api/v2/x", "v2"),
            ("h/api/v22", "api"),
            ("h/only-any", "root"),
            ("other/only-any", "any"),
            ("other/", "none"),
        ],
    );
}

#[test]
fn a_host_without_a_matching_prefix_gives_way() {
    check(
        &[("api", &["h.org/api"]), ("wild", &["*.org/w"]), ("any", &["*/"])],
        &[("h.org/api", "api"), ("h.org/w", "wild"), ("h.org/x", "any")],
    );
}

#[test]
fn a_prefix_is_stripped_for_the_target_only_when_asked() {
    check(
        &[("a", &["h/api-"]), ("b", &["h/b"]), ("c", &["h/-"])],
        &[("h/api", "a "), ("h/api/x", "a /x"), ("h/b/x", "b"), ("h/c", "c")],
    );
}

#[test]
fn a_route_belongs_to_one_service() {
    let error = table(&[("one", &["h/api"]), ("two", &["H/api/"])]).unwrap_err();
    assert_eq!(error.to_string(), "route `H/api/` of `two` already belongs to `one`");
}

#[test]
fn senseless_routes_are_refused() {
    for bad in ["h/a?b", "*./", "a*b/", "h:80/", "..x/"] {
        assert!(table(&[("one", &[bad])]).is_err(), "{bad}");
    }
    let without_slash = Route { host: None, path_prefix: "x".into(), strip_prefix: false };
    assert!(Routes::build([("s", (), [without_slash].as_slice())]).is_err());
}

#[test]
fn text_that_is_no_host_is_refused() {
    for bad in ["a b", "a/b", "a\"b", "h:80x", "[::1", "[::1]x", "h:80:90", "é"] {
        assert_eq!(normal_host(bad), None, "{bad}");
    }
    for (good, expected) in [("h:", "h"), ("[::1]", "[::1]"), ("H_1", "h_1"), ("", "")] {
        assert_eq!(normal_host(good).as_deref(), Some(expected));
    }
}

proptest! {
    /// The prefix that wins is a whole-segment prefix, and none that matches is longer.
    #[test]
    fn the_longest_matching_prefix_wins(
        prefixes in proptest::collection::btree_set("(/[ab]{1,2}){0,3}", 1..6),
        path in "(/[ab]{1,2}){1,4}",
    ) {
        let routes: Vec<_> = prefixes.iter().map(|prefix| route(&format!("*{prefix}/"))).collect();
        let own: Vec<_> = routes.iter().enumerate().collect();
        let table = Routes::build(
            own.iter().map(|(index, route)| ("s", *index, std::slice::from_ref(*route)))
        ).unwrap();
        let expected = prefixes
            .iter()
            .enumerate()
            .filter(|(_, prefix)| format!("{path}/").starts_with(&format!("{prefix}/")))
            .max_by_key(|(_, prefix)| prefix.len())
            .map(|(index, _)| index);
        prop_assert_eq!(table.find("any", &path).map(|found| found.to), expected);
    }
}
