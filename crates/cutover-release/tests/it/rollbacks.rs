//! Where a rollback without a number goes.

use cutover_release::rollback;

use crate::site::{Site, Wish};

/// Plays deployments and says which release serves after each: `d3` deploys release 3, `r` rolls
/// back, `r2` rolls back to release 2, `x3` is a deployment of release 3 that fails.
fn check(script: &str, expected: &str) {
    let mut site = Site::new();
    for number in 1..=4 {
        site.seal([format!("web image=v{number} routes=/").as_str()]);
    }
    let mut served = Vec::new();
    for word in script.split_whitespace() {
        let number = word[1..].parse().ok();
        let fails = word.starts_with('x');
        if fails {
            let id = format!("start web-{}-1", site.ledger.next_deployment("shop").unwrap());
            let (reason, times) = ("no space left on device".to_owned(), 1);
            let when = crate::fake::When::Before;
            site.world.faults.push(crate::fake::Fault::Fail { step: id, reason, times, when });
        }
        let wish = match (&word[..1], number) {
            ("d" | "x", Some(number)) => Wish::Deploy(number),
            (_, number) => Wish::Rollback(number),
        };
        match site.go(&wish) {
            Ok(_) => served.push(site.world.serving.map_or("-".to_owned(), |it| it.to_string())),
            Err(_) => served.push("!".to_owned()),
        }
    }
    assert_eq!(served.join(" "), expected, "{script}");
}

#[test]
fn goes_to_the_last_that_served_well() {
    check("d1 d2 r", "1 2 1");
    check("d1 d2 d3 r", "1 2 3 2");
    check("d1 x2 d3 r", "1 1 3 1");
    check("d1 d3 d2 r", "1 3 2 3");
}

#[test]
fn a_second_one_goes_further_back_and_never_forward() {
    check("d1 d2 d3 r r r", "1 2 3 2 1 !");
    check("d1 d2 r r", "1 2 1 !");
    check("d1 d2 r d3 r", "1 2 1 3 1");
}

#[test]
fn going_forward_by_number_forgets_the_way_back() {
    check("d1 d2 d3 r2 r3 r", "1 2 3 2 3 2");
    check("d1 d2 r d2 r", "1 2 1 2 1");
}

#[test]
fn refuses_what_serves_or_is_not_there() {
    check("d1 r", "1 !");
    check("d1 d2 r2 r9", "1 2 ! !");
    check("r", "!");
}

#[test]
fn who_has_gone_back_as_far_as_possible_is_told_the_way_forward() {
    let mut site = Site::new();
    for number in 1..=3 {
        site.seal([format!("web image=v{number} routes=/").as_str()]);
    }
    for wish in [Wish::Deploy(1), Wish::Deploy(2), Wish::Rollback(None)] {
        site.go(&wish).unwrap();
    }
    let history = site.ledger.deployments("shop", usize::MAX).unwrap();
    let error = rollback::choose(&site.facts(), &history, None);
    // 3 is newer still, but 2 is what was left and what waits
    let hint = match error {
        Ok(release) => format!("to {}", release.number),
        Err(error) => error.hint().unwrap(),
    };
    assert_eq!(hint, "`cutover rollback 2` goes forward again, to release 2");
}
