//! What `diff` shows, and what it never shows.

use cutover_core::release::seal;
use cutover_release::diff::diff;

use crate::app::services;

fn between(old: &[&str], new: &[&str]) -> String {
    let old = seal("shop", 1, services(old.iter().copied()));
    let new = seal("shop", 2, services(new.iter().copied()));
    diff(&old, &new).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn shows_what_changed() {
    let shown = between(
        &["web image=v1 routes=/ env=LEVEL:info env=DB_PASSWORD:one secret=one", "old image=v1"],
        &[
            "web image=v2 routes=/shop env=LEVEL:debug env=DB_PASSWORD:two secret=two replicas=2",
            "new image=v1",
        ],
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn never_shows_a_secret() {
    let shown = between(
        &["web image=v1 env=DB_PASSWORD:hunter2 secret=hunter3 env=DATABASE_URL:u:hunter4"],
        &["web image=v1 env=API_TOKEN:hunter5 secret=hunter6"],
    );
    assert!(!shown.contains("hunter"), "{shown}");
    assert!(shown.contains("DB_PASSWORD") && shown.contains("API_TOKEN"), "{shown}");
}

#[test]
fn says_nothing_of_equals() {
    assert_eq!(between(&["web image=v1 routes=/"], &["web image=v1 routes=/"]), "");
}

#[test]
fn a_new_secret_is_told_once() {
    let release = |number, secret: bool| {
        let mut services = services([if secret { "web secret=one" } else { "web" }]);
        if secret {
            let mount = serde_json::json!({
                "source": "password", "target": "/run/secrets/password", "mode": 292,
                "uid": 0, "gid": 0, "from": { "file": "./password" },
            });
            let web = &mut services.get_mut("web").unwrap().service;
            web.secrets.push(serde_json::from_value(mount).unwrap());
        }
        seal("shop", number, services)
    };
    let shown = diff(&release(1, false), &release(2, true));
    let shown: Vec<String> = shown.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["+ web: secrets.password ***"]);
}
