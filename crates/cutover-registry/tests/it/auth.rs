//! Proving who we are: Basic and the Bearer token flow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cutover_registry::{Basic, Credential, Hosts, Keychain, log_in, tags};

use crate::fixture::{Bench, Content};
use crate::server::{Reply, Request, Server};

fn credentials(bench: &mut Bench, password: &str) {
    bench.options.auth =
        Some(Basic { username: "me".to_owned(), password: password.to_owned() }.into());
}

/// A server of tokens: `token-N` for the right scope; `me:secret` gets `private-N`.
fn token_server() -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |request| {
        if request.target != "/token?service=the%20registry&scope=repository:team/app:pull" {
            return Reply::new(400, r#"{"details":"wrong scope"}"#);
        }
        let number = count.fetch_add(1, Ordering::SeqCst);
        let kind = match request.header("authorization") {
            None => "token",
            Some("Basic bWU6c2VjcmV0") => "private",
            Some(_) => return Reply::new(401, r#"{"details":"incorrect username or password"}"#),
        };
        Reply::new(200, format!(r#"{{"token":"{kind}-{number}","expires_in":60}}"#))
    })
}

/// A registry that takes what `accepts` and sends everyone else to the token server.
fn registry(
    content: Content,
    tokens: &Server,
    accepts: impl Fn(&Request, &str) -> bool + Send + Sync + 'static,
) -> Server {
    let challenge = format!(
        r#"Bearer realm="http://{}/token",service="the registry",scope="repository:team/app:pull""#,
        tokens.host()
    );
    Server::start(move |request| {
        let token = request.header("authorization").and_then(|it| it.strip_prefix("Bearer "));
        if token.is_some_and(|token| accepts(request, token)) {
            return content.answer(request);
        }
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        Reply::new(401, body).with("www-authenticate", &challenge)
    })
}

#[test]
fn an_anonymous_token_is_used_for_everything() {
    let tokens = token_server();
    let server = registry(Content::image(4), &tokens, |_, token| token == "token-0");
    let bench = Bench::new();
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    assert_eq!(tokens.requests("/token").len(), 1, "one token serves the whole pull");
    assert_eq!(server.requests("/blobs/").len(), 5);
}

#[test]
fn a_token_for_credentials() {
    let tokens = token_server();
    let server = registry(Content::image(1), &tokens, |_, token| token == "private-0");
    let mut bench = Bench::new();
    credentials(&mut bench, "secret");
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    for request in server.requests("/") {
        let sent = request.header("authorization").unwrap_or_default();
        assert!(!sent.starts_with("Basic"), "the password goes to the token server only");
    }
}

#[test]
fn a_token_that_ran_out_is_renewed_once_for_all() {
    let tokens = token_server();
    // blobs want a younger token than the manifest
    let server = registry(Content::image(4), &tokens, |request, token| {
        if request.target.contains("/blobs/") { token == "token-1" } else { token == "token-0" }
    });
    let bench = Bench::new();
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    assert_eq!(tokens.requests("/token").len(), 2);
}

#[test]
fn a_token_serves_later_calls() {
    let tokens = token_server();
    let server = registry(Content::image(1), &tokens, |_, token| token.starts_with("token"));
    let bench = Bench::new();
    let name = format!("{}/team/app:1.0", server.host());
    bench.pull(&name).unwrap();
    bench.pull(&name).unwrap();
    assert_eq!(tokens.requests("/token").len(), 1);
    let requests = server.requests("/v2/team");
    let without = requests.iter().filter(|it| it.header("authorization").is_none());
    assert_eq!(without.count(), 1, "nothing is tried without a token once it is known");
    Bench::new().pull(&name).unwrap();
    assert_eq!(tokens.requests("/token").len(), 2, "other options have tokens of their own");
}

#[test]
fn refusals_say_whose_they_are() {
    let tokens = token_server();
    let server = registry(Content::image(1), &tokens, |_, token| token.starts_with("private"));
    let name = format!("{}/team/app:1.0", server.host());
    let mut bench = Bench::new();
    insta::assert_snapshot!(bench.failure(&name), @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: access to repository `team/app` denied: authentication required
      hint: check that `HOST/team/app` is spelt right; if it needs credentials, see `cutover login HOST`
    ");
    credentials(&mut bench, "wrong");
    insta::assert_snapshot!(bench.failure(&name), @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: access to repository `team/app` denied: incorrect username or password
      hint: these credentials may not pull `HOST/team/app`
    ");
    let shown = format!("{:?}", bench.options);
    assert!(!shown.contains("wrong"), "{shown}");
}

#[test]
fn token_servers_that_answer_nonsense() {
    let tokens = Server::start(|_| Reply::new(200, "{}"));
    let server = registry(Content::image(1), &tokens, |_, _| true);
    let failure = Bench::new().failure(&format!("{}/team/app:1.0", server.host()));
    assert!(failure.contains("the token server's answer has no token"), "{failure}");
}

#[test]
fn basic() {
    let content = Content::image(1);
    let server = Server::start(move |request| match request.header("authorization") {
        Some("Basic bWU6c2VjcmV0") => content.answer(request),
        _ => Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
    });
    let name = format!("{}/team/app:1.0", server.host());
    let mut bench = Bench::new();
    insta::assert_snapshot!(bench.failure(&name), @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: access to repository `team/app` denied: unauthorized
      hint: check that `HOST/team/app` is spelt right; if it needs credentials, see `cutover login HOST`
    ");
    credentials(&mut bench, "wrong");
    insta::assert_snapshot!(bench.failure(&name), @"
      cannot pull `HOST/team/app:1.0` from registry `HOST`
        caused by: access to repository `team/app` denied: unauthorized
      hint: these credentials may not pull `HOST/team/app`
    ");
    credentials(&mut bench, "secret");
    bench.pull(&name).unwrap();
}

#[test]
fn an_identity_token_is_sent_in_the_body() {
    let tokens = Server::start(|request| {
        let form = String::from_utf8(request.body.clone()).unwrap();
        let right = request.method == "POST"
            && request.target == "/token"
            && form.contains("grant_type=refresh_token")
            && form.contains("scope=repository:team/app:pull")
            && form.contains("refresh_token=ident%2Bity");
        if right { Reply::new(200, r#"{"access_token":"good"}"#) } else { Reply::new(400, "") }
    });
    let server = registry(Content::image(1), &tokens, |_, token| token == "good");
    let mut bench = Bench::new();
    bench.options.auth = Some(Credential::IdentityToken("ident+ity".to_owned()));
    bench.pull(&format!("{}/team/app:1.0", server.host())).unwrap();
    assert!(!format!("{:?}", bench.options).contains("ident+ity"));
}

#[test]
fn credentials_come_from_dockers_file() {
    let dir = tempfile::tempdir().unwrap();
    let content = Content::image(1);
    let server = Server::start(move |request| match request.header("authorization") {
        Some("Basic bWU6c2VjcmV0") => content.answer(request),
        _ => Reply::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
    });
    let keychain = Keychain { files: vec![dir.path().join("config.json")] };
    let host = server.host();
    let mut bench = Bench::new();
    bench.options.hosts = Arc::new(Hosts::new(keychain.clone(), Vec::new()));
    let credential =
        |password: &str| Basic { username: "me".to_owned(), password: password.to_owned() }.into();
    let error = log_in(&host, &credential("wrong"), &bench.options).unwrap_err();
    assert!(error.to_string().contains("does not accept"), "{error}");
    log_in(&host, &credential("secret"), &bench.options).unwrap();
    keychain.save(&host, &credential("secret")).unwrap();
    bench.pull(&format!("{host}/team/app:1.0")).unwrap();
    keychain.forget(&host).unwrap();
    let failure = bench.failure(&format!("{host}/team/app:1.0"));
    assert!(failure.contains("see `cutover login HOST`"), "{failure}");
}

#[test]
fn tags_page_by_page() {
    let server = Server::start(|request| match request.target.as_str() {
        "/v2/" => Reply::new(200, "{}"),
        "/v2/team/app/tags/list?n=1000" => Reply::new(200, r#"{"tags":["1","2"]}"#)
            .with("link", r#"</v2/team/app/tags/list?n=1000&last=2>; rel="next""#),
        "/v2/team/app/tags/list?n=1000&last=2" => Reply::new(200, r#"{"tags":["3"]}"#)
            .with("link", r#"</v2/team/app/tags/list?n=1000&last=3>; rel="next""#),
        // for ever
        _ => Reply::new(200, r#"{"tags":null}"#).with("link", "</v2/x>; rel=next"),
    });
    let reference = format!("{}/team/app", server.host()).parse().unwrap();
    let found = tags(&reference, &Bench::new().options).unwrap();
    assert_eq!(found, ["1", "2", "3"]);
}
