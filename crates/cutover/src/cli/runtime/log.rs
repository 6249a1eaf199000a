//! Where the front says what went wrong: on stderr for people, and in the file that docker and podman read.

use std::io::Write;
use std::path::PathBuf;

use crate::clock;

/// The log file, if any.
#[derive(Clone, Debug)]
pub(super) struct Log {
    file: Option<PathBuf>,
    json: bool,
}

impl Log {
    pub(super) fn new(file: Option<PathBuf>, json: bool) -> Self {
        Self { file, json }
    }

    /// Why the command failed.
    #[expect(clippy::print_stderr, reason = "the place where the front prints its failure")]
    pub(super) fn failure(&self, text: &str) {
        self.write("error", text);
        eprintln!("error: {text}");
    }

    /// Something that was passed over. Only for the log: what a container prints must stay alone.
    pub(super) fn warning(&self, text: &str) {
        self.write("warning", text);
    }

    fn write(&self, level: &str, text: &str) {
        let Some(path) = &self.file else { return };
        let time = clock::now();
        let line = if self.json {
            let line = serde_json::json!({ "level": level, "msg": text, "time": time.to_string() });
            format!("{line}\n")
        } else {
            format!("time=\"{time}\" level={level} msg={text:?}\n")
        };
        let opened = fs_err::OpenOptions::new().create(true).append(true).open(path);
        // Whoever reads it is told by the exit code, too.
        drop(opened.and_then(|mut file| file.write_all(line.as_bytes())));
    }
}
