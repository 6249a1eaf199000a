//! Doors for the fuzz targets in `fuzz/`: what a Dockerfile's author reaches.

use std::collections::HashMap;

use cutover_core::oci::Platform;

use crate::checks::{self, Scope};
use crate::dockerfile::expand::Expander;
use crate::ignore::{self, Ignore, Matched};
use crate::{BuildOptions, DockerfileSource, call, dockerfile};

/// Parses a Dockerfile and asks everything of it that can be asked without building.
pub fn dockerfile(bytes: &[u8]) {
    let amd64 = Platform::new("linux", "amd64");
    let mut options = BuildOptions::new("/".into(), "/".into(), amd64, 0);
    let report =
        checks::check("Dockerfile", bytes, &options, &Ignore::default(), &(), Scope::Everything);
    let lines = String::from_utf8_lossy(bytes).split('\n').count();
    for finding in &report.findings {
        assert!((1..=lines).contains(&finding.lines.start), "{finding:?}");
        assert!(finding.lines.start <= finding.lines.end, "{finding:?}");
    }
    drop((report.text(), report.json()));
    let Ok(file) = dockerfile::parse(bytes) else {
        assert!(report.error.is_some(), "an error that the checks do not see");
        return;
    };
    assert!(!file.stages.is_empty());
    options.dockerfile = DockerfileSource::Inline(bytes.to_owned());
    if let Ok(outline) = call::outline(&options, &()) {
        drop(outline.json());
    }
    let targets = call::targets(&options).expect("what was parsed is parsed again");
    assert_eq!(targets.list.len(), file.stages.len());
}

/// Matches a path, and each of its parents before it, against the patterns of a `.dockerignore`.
pub fn ignore(patterns: &str, path: &str) {
    let Ok(ignore) = Ignore::new(&ignore::lines(patterns)) else { return };
    let path: Vec<&str> =
        path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
    let mut matched = Matched::default();
    for end in 1..=path.len() {
        (_, matched) = ignore.matches(&path[..end].join("/"), &matched);
    }
    let _alone = ignore.matches(&path.join("/"), &Matched::default());
}

/// Expands a text in every mode that there is.
pub fn expand(text: &str, value: &str, mode: u8) {
    let escape = if mode & 1 == 0 { '\\' } else { '`' };
    let expander = Expander {
        raw_quotes: mode & 2 != 0,
        raw_escapes: mode & 4 != 0,
        ignore_quotes: mode & 8 != 0,
        keep_unset: mode & 16 != 0,
        ..Expander::new(escape)
    };
    let variables = HashMap::from([("v".to_owned(), value.to_owned())]);
    let word = expander.word(text, &variables);
    let words = expander.words(text, &variables);
    assert_eq!(word.is_ok(), words.is_ok(), "the two ways to expand differ");
    let plain = !text.contains(['$', '\'', '"', escape]);
    if plain {
        assert_eq!(word.expect("nothing to go wrong").text, text);
    }
}
