//! Credential helpers: programs that keep secrets in some store of their own.
//!
//! `docker-credential-NAME get|store|erase`: the question on stdin, JSON on stdout, reasons too.
//! Secrets are never among the arguments.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::KeychainError;
use crate::credential::{Basic, Credential};

/// The longest answer that is read.
const MAX_ANSWER: u64 = 1 << 20;

/// Why a helper did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    #[error("cannot run `docker-credential-{name}`")]
    Run { name: String, source: std::io::Error },
    #[error("`{0}` is not the name of a helper")]
    Name(String),
    #[error("it said: {0}")]
    Said(String),
    #[error("its answer is not what helpers answer")]
    Answer(#[source] serde_json::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

#[derive(Serialize)]
struct Question<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    #[serde(rename = "Username")]
    username: &'a str,
    #[serde(rename = "Secret")]
    secret: &'a str,
}

/// What the helper has for `server`.
pub(super) fn get(name: &str, server: &str) -> Result<Option<Credential>, KeychainError> {
    let fail = |source| KeychainError::Helper { name: name.to_owned(), source };
    let answer = match run(name, "get", server.as_bytes()) {
        Err(HelperError::Said(text)) if text.contains("credentials not found") => return Ok(None),
        other => other.map_err(fail)?,
    };
    let answer: Answer =
        serde_json::from_slice(&answer).map_err(|error| fail(HelperError::Answer(error)))?;
    Ok(match answer.username.as_str() {
        _ if answer.secret.is_empty() => None,
        "<token>" => Some(Credential::IdentityToken(answer.secret)),
        _ => Some(Basic { username: answer.username, password: answer.secret }.into()),
    })
}

pub(super) fn store(name: &str, server: &str, secret: &Credential) -> Result<(), KeychainError> {
    let (username, secret) = match secret {
        Credential::Basic(basic) => (basic.username.as_str(), &basic.password),
        Credential::IdentityToken(token) | Credential::RegistryToken(token) => ("<token>", token),
    };
    let question = Question { server, username, secret };
    let question = serde_json::to_vec(&question).expect("three strings");
    let done = run(name, "store", &question);
    done.map(drop).map_err(|source| KeychainError::Helper { name: name.to_owned(), source })
}

pub(super) fn erase(name: &str, server: &str) -> Result<(), KeychainError> {
    match run(name, "erase", server.as_bytes()) {
        Err(HelperError::Said(text)) if text.contains("credentials not found") => Ok(()),
        Err(source) => Err(KeychainError::Helper { name: name.to_owned(), source }),
        Ok(_) => Ok(()),
    }
}

fn run(name: &str, action: &str, question: &[u8]) -> Result<Vec<u8>, HelperError> {
    // it becomes part of a program's name, and the file may come from elsewhere
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(word) {
        return Err(HelperError::Name(name.chars().filter(|c| !c.is_control()).take(60).collect()));
    }
    let failed = |source| HelperError::Run { name: name.to_owned(), source };
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut answer = Vec::new();
    if let Some(mut stdin) = child.stdin.take() {
        // one that does not read its question says why in its answer
        drop(stdin.write_all(question));
    }
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER).read_to_end(&mut answer).map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(answer);
    }
    let said = String::from_utf8_lossy(&answer);
    let said: String = said.trim().chars().filter(|c| !c.is_control()).take(200).collect();
    Err(HelperError::Said(if said.is_empty() { status.to_string() } else { said }))
}
