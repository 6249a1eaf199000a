//! BuildKit's `--progress=rawjson`: one document a line, in the words of its `SolveStatus`, so that
//! what reads buildx's reads ours.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use cutover_core::Digest;
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Event, Progress, StepId, Stream};

/// Writes a line for each event. Times are made by `time`, from the time since the build started.
pub struct RawJson<W, T> {
    out: Mutex<(W, HashMap<StepId, Vertex>)>,
    time: T,
}

#[derive(Clone, Debug)]
struct Vertex {
    digest: Digest,
    name: String,
    started: String,
}

impl<W: Write, T: Fn(Duration) -> String> RawJson<W, T> {
    pub fn new(out: W, time: T) -> Self {
        Self { out: Mutex::new((out, HashMap::new())), time }
    }

    /// Says a warning: a headline, and what else there is to say.
    pub fn warn(&self, short: &str, at: Duration) {
        let digest = Digest::sha256(short.as_bytes());
        let vertex = json!({
            "digest": digest, "name": "[internal] checks", "started": (self.time)(at),
            "completed": (self.time)(at)
        });
        let short = BASE64.encode(short.as_bytes());
        let warning = json!({ "vertex": digest, "level": 1, "short": short });
        let line = json!({ "vertexes": [vertex], "warnings": [warning] });
        self.write(&mut self.lock().0, &line);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (W, HashMap<StepId, Vertex>)> {
        self.out.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self, out: &mut W, line: &Value) {
        // A reader that went away must not fail the build.
        let _ignored = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

impl<W, T> std::fmt::Debug for RawJson<W, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawJson").finish_non_exhaustive()
    }
}

impl<W: Write + Send, T: Fn(Duration) -> String + Sync> Progress for RawJson<W, T> {
    fn on(&self, event: Event<'_>) {
        let mut guard = self.lock();
        let (out, vertexes) = &mut *guard;
        let time = |at: Duration| (self.time)(at);
        let line = match event {
            Event::Started { step, name, at, .. } => {
                let vertex = Vertex::new(step, name, time(at));
                let line = vertex.line(&[]);
                vertexes.insert(step, vertex);
                line
            }
            Event::Cached { step, name, at, .. } => {
                let at = time(at);
                let completed = ("completed", json!(at));
                Vertex::new(step, name, at).line(&[completed, ("cached", json!(true))])
            }
            Event::Done { step, at } => match vertexes.remove(&step) {
                Some(vertex) => vertex.line(&[("completed", json!(time(at)))]),
                None => return,
            },
            Event::Failed { step, error, at } => match vertexes.remove(&step) {
                Some(vertex) => {
                    vertex.line(&[("completed", json!(time(at))), ("error", json!(error))])
                }
                None => return,
            },
            Event::Output { step, stream, bytes, at } => {
                let Some(vertex) = vertexes.get(&step) else { return };
                let stream = if stream == Stream::Stdout { 1 } else { 2 };
                let data = BASE64.encode(bytes);
                json!({ "logs": [{
                    "vertex": vertex.digest, "stream": stream, "data": data, "timestamp": time(at)
                }] })
            }
            Event::Exported { image, tag, at } => {
                let what = tag.map_or("writing image", |_| "naming to");
                let at = time(at);
                let name = format!("{what} {}", tag.unwrap_or(image));
                let digest = Digest::sha256(name.as_bytes());
                json!({
                    "vertexes": [{
                        "digest": digest, "name": "exporting to image", "started": at,
                        "completed": at
                    }],
                    "statuses": [{
                        "id": name, "vertex": digest, "current": 0, "timestamp": at,
                        "started": at, "completed": at
                    }]
                })
            }
            Event::Planned { .. } | Event::Explained { .. } | Event::Terminal { .. } => return,
        };
        self.write(out, &line);
    }
}

impl Vertex {
    fn new(step: StepId, name: &str, started: String) -> Self {
        // Two steps may have one name.
        let digest = Digest::sha256(format!("{step} {name}").as_bytes());
        Self { digest, name: name.to_owned(), started }
    }

    fn line(&self, more: &[(&str, Value)]) -> Value {
        let mut vertex = json!({
            "digest": self.digest, "name": self.name, "started": self.started
        });
        for (key, value) in more {
            vertex[key] = value.clone();
        }
        json!({ "vertexes": [vertex] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_in_buildkits_words() {
        let mut out = Vec::new();
        let raw = RawJson::new(&mut out, |at| format!("T{}", at.as_secs()));
        let at = Duration::from_secs;
        raw.on(Event::Cached { step: 1, name: "[1/2] FROM a", stage: None, at: at(0) });
        raw.on(Event::Started { step: 2, name: "[2/2] RUN x", stage: Some(0), at: at(1) });
        let stream = Stream::Stderr;
        raw.on(Event::Output { step: 2, stream, bytes: b"hi\n", at: at(2) });
        raw.on(Event::Failed { step: 2, error: "exit code 3", at: at(3) });
        raw.warn("careful", at(4));
        drop(raw);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let one = Digest::sha256(b"1 [1/2] FROM a");
        let two = Digest::sha256(b"2 [2/2] RUN x");
        let vertex = json!({ "digest": two, "name": "[2/2] RUN x", "started": "T1" });
        let mut failed = vertex.clone();
        failed["completed"] = json!("T3");
        failed["error"] = json!("exit code 3");
        assert_eq!(
            lines[..4],
            [
                json!({ "vertexes": [{
                    "digest": one, "name": "[1/2] FROM a", "started": "T0", "completed": "T0",
                    "cached": true
                }] }),
                json!({ "vertexes": [vertex] }),
                json!({ "logs": [{
                    "vertex": two, "stream": 2, "data": "aGkK", "timestamp": "T2"
                }] }),
                json!({ "vertexes": [failed] }),
            ]
        );
        assert_eq!(lines[4]["warnings"][0]["short"], "Y2FyZWZ1bA==");
    }
}
