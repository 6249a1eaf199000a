//! A registry in memory that takes pushes, faithfully but for the faults that a test adds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cutover_core::Digest;
use cutover_core::digest::Hasher;

use crate::server::{Reply, Request, Server};

#[derive(Debug, Default)]
pub(crate) struct State {
    /// By repository and digest.
    pub(crate) blobs: BTreeMap<(String, String), Vec<u8>>,
    /// By repository and tag or digest.
    pub(crate) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    pub(crate) uploads: BTreeMap<String, Vec<u8>>,
    next: usize,
}

pub(crate) type Shared = Arc<Mutex<State>>;

/// A registry with `fault` before it: what that answers is not asked of the registry.
pub(crate) fn start(
    fault: impl Fn(&Request, &Shared) -> Option<Reply> + Send + Sync + 'static,
) -> (Server, Shared) {
    let state = Shared::default();
    let own = Arc::clone(&state);
    let server = Server::start(move |request| {
        fault(request, &own).unwrap_or_else(|| answer(&mut own.lock().unwrap(), request))
    });
    (server, state)
}

pub(crate) fn digest(bytes: &[u8], like: &str) -> String {
    let like: Digest = like.parse().unwrap();
    let mut hasher = Hasher::new(like.algorithm());
    hasher.update(bytes);
    hasher.finish().to_string()
}

/// The faithful answer.
pub(crate) fn answer(state: &mut State, request: &Request) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let query: BTreeMap<&str, &str> =
        query.split('&').filter_map(|it| it.split_once('=')).collect();
    let Some(path) = path.strip_prefix("/v2/") else { return Reply::new(404, "") };
    if path.is_empty() {
        return Reply::new(200, "{}");
    }
    if let Some((repository, id)) = path.split_once("/blobs/uploads/") {
        return upload(state, request, (repository, id), &query);
    }
    if let Some((repository, digest)) = path.split_once("/blobs/") {
        return match state.blobs.get(&(repository.to_owned(), digest.to_owned())) {
            Some(bytes) => Reply::new(200, bytes.clone()),
            None => Reply::new(404, ""),
        };
    }
    let Some((repository, name)) = path.split_once("/manifests/") else {
        return Reply::new(404, "");
    };
    let key = (repository.to_owned(), name.to_owned());
    if request.method == "PUT" {
        let kind = request.header("content-type").unwrap().to_owned();
        let digest = digest(
            &request.body,
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        );
        for key in [key, (repository.to_owned(), digest.clone())] {
            state.manifests.insert(key, (kind.clone(), request.body.clone()));
        }
        return Reply::new(201, "").with("docker-content-digest", digest);
    }
    match state.manifests.get(&key) {
        Some((kind, bytes)) => Reply::new(200, bytes.clone()).with("content-type", kind),
        None => Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
    }
}

fn upload(
    state: &mut State,
    request: &Request,
    (repository, id): (&str, &str),
    query: &BTreeMap<&str, &str>,
) -> Reply {
    let at = |id: &str| format!("/v2/{repository}/blobs/uploads/{id}");
    let range = |bytes: &[u8]| format!("0-{}", bytes.len().saturating_sub(1));
    if request.method == "POST" {
        if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from"))
            && let Some(bytes) = state.blobs.get(&((*from).to_owned(), (*digest).to_owned()))
        {
            let bytes = bytes.clone();
            state.blobs.insert((repository.to_owned(), (*digest).to_owned()), bytes);
            return Reply::new(201, "");
        }
        state.next += 1;
        let id = format!("u{}", state.next);
        state.uploads.insert(id.clone(), Vec::new());
        return Reply::new(202, "").with("location", at(&id));
    }
    let Some(bytes) = state.uploads.get_mut(id) else { return Reply::new(404, "") };
    match request.method.as_str() {
        "GET" => Reply::new(204, "").with("location", at(id)).with("range", range(bytes)),
        "PATCH" => {
            let from = request.header("content-range").and_then(|it| it.split('-').next());
            if from.is_some_and(|from| from != bytes.len().to_string()) {
                return Reply::new(416, "").with("location", at(id)).with("range", range(bytes));
            }
            bytes.extend(&request.body);
            Reply::new(202, "").with("location", at(id)).with("range", range(bytes))
        }
        "PUT" => {
            bytes.extend(&request.body);
            let expected = query["digest"];
            let bytes = state.uploads.remove(id).unwrap();
            if digest(&bytes, expected) != expected {
                return Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
            }
            state.blobs.insert((repository.to_owned(), expected.to_owned()), bytes);
            Reply::new(201, "").with("docker-content-digest", expected)
        }
        _ => {
            state.uploads.remove(id);
            Reply::new(204, "")
        }
    }
}
