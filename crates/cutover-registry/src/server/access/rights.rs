//! [`Rights`]: what may be done with which repositories. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::server::gate::Action;
use crate::server::name::is_repository;
use crate::server::policy::matches;

/// The verbs that tokens speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    Pull,
    Push,
    Delete,
}

impl Verb {
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == text)
    }

    /// What an action needs; `None`: only to be let in.
    pub fn of(action: Action) -> Option<Self> {
        match action {
            Action::Ping | Action::Catalog => None,
            Action::Pull => Some(Self::Pull),
            Action::Push => Some(Self::Push),
            Action::Delete => Some(Self::Delete),
        }
    }
}

/// `pull,push:team/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    pub verbs: Vec<Verb>,
    /// `*` stands for any text, `/` included; `?` for one character.
    pub repositories: String,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a right: it must be like `pull,push:team/*`, of `pull`, `push`, `delete` or `*`"
)]
pub struct ParseRightError(String);

impl FromStr for Right {
    type Err = ParseRightError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseRightError(text.to_owned());
        let (verbs, repositories) = text.split_once(':').ok_or_else(wrong)?;
        let verbs = match verbs {
            "*" => Verb::ALL.to_vec(),
            verbs => verbs.split(',').map(Verb::parse).collect::<Option<_>>().ok_or_else(wrong)?,
        };
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/*?".contains(c);
        if repositories.is_empty() || !repositories.chars().all(allowed) {
            return Err(wrong());
        }
        Ok(Self { verbs, repositories: repositories.to_owned() })
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verbs: Vec<_> = self.verbs.iter().map(|verb| verb.as_str()).collect();
        write!(f, "{}:{}", verbs.join(","), self.repositories)
    }
}

impl Serialize for Right {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Right {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What someone may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Everything, the list of repositories included.
    All,
    Some(Vec<Right>),
}

impl Rights {
    pub fn allow(&self, verb: Verb, repository: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(rights) => rights.iter().any(|right| {
                right.verbs.contains(&verb) && matches(&right.repositories, repository)
            }),
        }
    }
}

/// What a token allows, in the words of distribution's token specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    pub actions: Vec<String>,
}

/// Scopes that a client may ask for at once.
const MAX_SCOPES: usize = 64;

/// The part of the asked `scopes` that `rights` has. What nobody may is left out, not refused: the
/// specification wants it so.
pub fn grant<'a>(rights: &Rights, scopes: impl Iterator<Item = &'a str>) -> Vec<Grant> {
    let scopes = scopes.flat_map(|scopes| scopes.split(' ')).filter(|scope| !scope.is_empty());
    scopes.take(MAX_SCOPES).filter_map(|scope| one(rights, scope)).collect()
}

fn one(rights: &Rights, scope: &str) -> Option<Grant> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let granted: Vec<String> = match kind {
        "repository" if is_repository(name) => Verb::ALL
            .into_iter()
            .filter(|verb| actions.split(',').any(|it| it == verb.as_str() || it == "*"))
            .filter(|verb| rights.allow(*verb, name))
            .map(|verb| verb.as_str().to_owned())
            .collect(),
        "registry" if name == "catalog" && *rights == Rights::All => vec!["*".to_owned()],
        _ => Vec::new(),
    };
    (!granted.is_empty()).then(|| Grant {
        kind: kind.to_owned(),
        name: name.to_owned(),
        actions: granted,
    })
}

/// Whether a token's grants allow it.
pub fn granted(grants: &[Grant], action: Action, repository: Option<&str>) -> bool {
    let has = |kind: &str, name: &str, verb: &str| {
        grants.iter().any(|it| {
            it.kind == kind && it.name == name && it.actions.iter().any(|action| action == verb)
        })
    };
    match (action, Verb::of(action), repository) {
        (Action::Ping, ..) => true,
        (Action::Catalog, ..) => has("registry", "catalog", "*"),
        (_, Some(verb), Some(repository)) => has("repository", repository, verb.as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_and_written() {
        let check = |text: &str, expected: Option<&str>| {
            let right = text.parse::<Right>().ok().map(|right| right.to_string());
            assert_eq!(right.as_deref(), expected, "{text}");
        };
        check("pull:*", Some("pull:*"));
        check("pull,push:team/*", Some("pull,push:team/*"));
        check("*:a", Some("pull,push,delete:a"));
        for wrong in ["pull", "pull:", "look:*", ":a", "pull,:a", "pull:A", "pull:a b"] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_asked_and_may_be_had() {
        let rights = Rights::Some(vec!["pull:*".parse().unwrap(), "push:team/*".parse().unwrap()]);
        let check = |scope: &str, expected: &[&str]| {
            let granted = grant(&rights, std::iter::once(scope));
            let shown: Vec<_> = granted
                .iter()
                .map(|it| format!("{}:{}:{}", it.kind, it.name, it.actions.join(",")))
                .collect();
            assert_eq!(shown, expected, "{scope}");
        };
        check("repository:team/app:pull,push", &["repository:team/app:pull,push"]);
        check("repository:team/app:*", &["repository:team/app:pull,push"]);
        check("repository:other:push,pull", &["repository:other:pull"]);
        check("repository:other:push", &[]);
        check("repository:a:pull repository:b:pull", &["repository:a:pull", "repository:b:pull"]);
        check("registry:catalog:*", &[]);
        check("repository:../x:pull", &[]);
        check("nonsense", &[]);
        let all = grant(&Rights::All, std::iter::once("registry:catalog:*"));
        assert!(granted(&all, Action::Catalog, None));
        assert!(!granted(&all, Action::Pull, Some("a")));
        let some = grant(&rights, std::iter::once("repository:team/app:pull"));
        assert!(granted(&some, Action::Pull, Some("team/app")));
        assert!(!granted(&some, Action::Push, Some("team/app")));
        assert!(!granted(&some, Action::Pull, Some("team/app2")));
        assert!(granted(&[], Action::Ping, None));
    }
}
