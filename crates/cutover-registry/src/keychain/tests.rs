use std::os::unix::fs::PermissionsExt;

use super::*;

fn keychain(text: &str) -> (tempfile::TempDir, Keychain) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    fs_err::write(&path, text).unwrap();
    (dir, Keychain { files: vec![PathBuf::from("/nonexistent/config.json"), path] })
}

fn basic(username: &str, password: &str) -> Option<Credential> {
    let (username, password) = (username.to_owned(), password.to_owned());
    Some(Basic { username, password }.into())
}

#[test]
fn reads_docker_and_podman_files() {
    let (_dir, keychain) = keychain(
        r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "bWU6czpl"},
            "r.io:5000": {"username": "u", "password": "p"},
            "https://old.io/v2/": {"auth": "bWU6c2VjcmV0"},
            "id.io": {"auth": "bWU6", "identitytoken": "tok"},
            "raw.io": {"registrytoken": "raw"},
            "empty.io": {},
            "bad.io": {"auth": "!!"}
        }, "credHelpers": null, "HttpHeaders": {"x": "y"}}"#,
    );
    let check = |registry: &str, expected: Option<Credential>| {
        assert_eq!(keychain.find(registry).unwrap(), expected, "{registry}");
    };
    check("docker.io", basic("me", "s:e"));
    check("r.io:5000", basic("u", "p"));
    check("r.io", None);
    check("old.io", basic("me", "secret"));
    check("id.io", Some(Credential::IdentityToken("tok".to_owned())));
    check("raw.io", Some(Credential::RegistryToken("raw".to_owned())));
    check("empty.io", None);
    let error = keychain.find("bad.io").unwrap_err().to_string();
    assert!(error.contains("no valid credentials for `bad.io`"), "{error}");
}

#[test]
fn login_and_logout_keep_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/config.json");
    let keychain = Keychain { files: vec![path.clone()] };
    let me = basic("me", "secret").unwrap();
    assert_eq!(keychain.save("docker.io", &me).unwrap(), Saved::Plain(path.clone()));
    let mode = |path: &Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    assert!(fs_err::read_to_string(&path).unwrap().contains("https://index.docker.io/v1/"));
    fs_err::write(&path, r#"{"HttpHeaders": {"x": "y"}, "auths": {"a.io": {"auth": "eDp5"}}}"#)
        .unwrap();
    keychain.save("b.io", &me).unwrap();
    assert_eq!(keychain.find("a.io").unwrap(), basic("x", "y"));
    assert_eq!(keychain.find("b.io").unwrap(), Some(me));
    assert!(keychain.forget("a.io").unwrap());
    assert!(!keychain.forget("a.io").unwrap());
    let text = fs_err::read_to_string(&path).unwrap();
    assert!(text.contains("HttpHeaders") && !text.contains("a.io"), "{text}");
}

#[test]
fn files_that_are_something_else() {
    let (_dir, keychain) = keychain("[1");
    assert!(matches!(keychain.find("a.io"), Err(KeychainError::Format { .. })));
    let (_dir, keychain) = self::keychain("");
    assert_eq!(keychain.find("a.io").unwrap(), None);
}

#[test]
fn names_of_helpers_are_checked() {
    for name in ["../x", "a b", "$(x)"] {
        let text = serde_json::json!({"credsStore": name}).to_string();
        let (_dir, keychain) = keychain(&text);
        let error = keychain.find("a.io").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("not the name of a helper"), "{source}");
    }
}
