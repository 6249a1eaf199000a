//! Names of variables that sound like secrets.

const SECRET: [&str; 10] = [
    "apikey",
    "auth",
    "credential",
    "credentials",
    "key",
    "password",
    "pword",
    "passwd",
    "secret",
    "token",
];

/// Words that say that it is none after all: `PUBLIC_KEY`, `PASSWORD_FILE`.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Whether a part of `name`, between underscores, says that its value is a secret.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    let has = |words: &[&str]| name.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::sounds_secret;

    #[test]
    fn parts_between_underscores_count() {
        for name in ["SECRET_PASSPHRASE", "super_Secret", "auth", "git_key", "MY_TOKEN_2"] {
            assert!(sounds_secret(name), "{name}");
        }
        for name in ["PUBLIC_KEY", "password_file", "AUTH_MODULE_VERSION", "monkey", "tokens"] {
            assert!(!sounds_secret(name), "{name}");
        }
    }
}
