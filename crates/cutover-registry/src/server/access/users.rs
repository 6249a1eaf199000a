//! The file of people: lines of `NAME:HASH` as `htpasswd -B` writes them. Pure but for the hashing.

use std::collections::HashMap;

/// People by name, with the bcrypt hash of each one's password.
#[derive(Clone, Debug, Default)]
pub(super) struct Users(HashMap<String, String>);

/// Of nobody's password: a name that nobody has takes as long as a wrong password.
const NOBODY: &str = "$2y$10$CwTycUXWue0Thq9StjUM0uJ8.9s5fcRcSHt1t/Oy1kOzRrLRHKsLa";

impl Users {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_not| "it is not text".to_owned())?;
        let mut users = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let (name, hash) = line
                .split_once(':')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| format!("line {number} is not `NAME:HASH`"))?;
            let is_bcrypt = ["$2a$", "$2b$", "$2y$"].iter().any(|it| hash.starts_with(it));
            if !is_bcrypt || hash.parse::<bcrypt::HashParts>().is_err() {
                return Err(format!(
                    "the password of line {number} is not hashed with bcrypt: use `htpasswd -B`"
                ));
            }
            users.insert(name.to_owned(), hash.to_owned());
        }
        Ok(Self(users))
    }

    /// The hash of a name's password, or of nobody's.
    pub(super) fn hash(&self, name: &str) -> Hash {
        match self.0.get(name) {
            Some(hash) => Hash { text: hash.clone(), known: true },
            None => Hash { text: NOBODY.to_owned(), known: false },
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// What a password is held against.
#[derive(Clone, Debug)]
pub(super) struct Hash {
    pub(super) text: String,
    known: bool,
}

impl Hash {
    /// Takes a good part of a second, on purpose.
    pub(super) fn is_of(&self, password: &str) -> bool {
        // bcrypt itself compares in constant time
        bcrypt::verify(password, &self.text).unwrap_or(false) && self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `htpasswd -nbBC 4 me secret`
    const ME: &str = "me:$2y$04$vwZf5NtAcG8/FzqwMmGXHOsLQEOYUzXHtWvjMqLnkV0YBXuF6tFb.";

    #[test]
    fn lines() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Users::parse(text.as_bytes()).unwrap_err(), expected);
        };
        check("me", "line 1 is not `NAME:HASH`");
        let wrong = "the password of line 2 is not hashed with bcrypt: use `htpasswd -B`";
        check("\nme:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", wrong);
        check("\nme:$2y$04$short", wrong);
        let users = Users::parse(format!("# people\n\n{ME}\r\n").as_bytes()).unwrap();
        assert!(users.contains("me") && !users.contains("you"));
    }

    #[test]
    fn passwords() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let users = Users::parse(format!("me:{hash}").as_bytes()).unwrap();
        assert!(users.hash("me").is_of("secret"));
        assert!(!users.hash("me").is_of("Secret"));
        assert!(!users.hash("me").is_of(""));
        assert!(!users.hash("you").is_of("secret"));
        assert!(NOBODY.parse::<bcrypt::HashParts>().is_ok());
    }
}
