//! A report as text for people and as JSON for machines, with the fields of docker's.

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Finding, Report};
use crate::Place;
use crate::dockerfile::Lines;

impl Report {
    /// Nothing to say.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.error.is_none()
    }

    /// With `error=true`, the rules that keep the Dockerfile from being built.
    pub fn refusal(&self) -> Option<String> {
        let sure = self.findings.iter().filter(|finding| !finding.uncertain);
        let mut rules: Vec<&str> = sure.map(|finding| finding.rule.name()).collect();
        rules.sort_unstable();
        rules.dedup();
        (self.strict && !rules.is_empty())
            .then(|| format!("checks failed, and `error=true` is set: {}", rules.join(", ")))
    }

    /// `--call=check`: how many, each with its lines, and what is wrong with the file itself.
    pub fn text(&self) -> String {
        let mut out = match self.findings.len() {
            0 if self.error.is_none() => return "Check complete, no warnings found.\n".to_owned(),
            0 => String::new(),
            1 => "Check complete, 1 warning has been found!\n".to_owned(),
            count => format!("Check complete, {count} warnings have been found!\n"),
        };
        out.push_str(&self.warnings());
        if let Some((lines, problem)) = &self.error {
            out.push_str(&format!("\nERROR: {problem}\n"));
            if let Some(lines) = lines {
                out.push_str(&self.place(*lines).excerpt_of(problem, 2));
            }
        }
        out
    }

    /// Each finding with its excerpt.
    pub fn warnings(&self) -> String {
        self.findings.iter().map(|finding| self.warning(finding)).collect()
    }

    fn warning(&self, finding: &Finding) -> String {
        let page = finding.rule.url().map(|url| format!(" - {url}")).unwrap_or_default();
        let Finding { rule, detail, lines, .. } = finding;
        format!("\nWARNING: {rule}{page}\n{detail}\n{}", self.place(*lines).excerpt_of(detail, 0))
    }

    fn place(&self, lines: Lines) -> Place {
        Place {
            file: self.file.as_str().into(),
            start: lines.start,
            end: lines.end,
            source: self.source.as_str().into(),
        }
    }

    /// The document of `--call=check,format=json`.
    pub fn json(&self) -> Value {
        let warning = |finding: &Finding| {
            let mut value = json!({
                "ruleName": finding.rule.name(),
                "description": finding.rule.description(),
            });
            if let Some(url) = finding.rule.url() {
                value["url"] = url.into();
            }
            value["detail"] = finding.detail.as_str().into();
            value["location"] = location(Some(finding.lines));
            value
        };
        let mut document = json!({
            "warnings": self.findings.iter().map(warning).collect::<Vec<_>>(),
            "sources": [{
                "filename": self.file,
                "language": "Dockerfile",
                "data": BASE64.encode(self.source.as_bytes()),
            }],
        });
        let error = self.error.clone();
        let error = error.or_else(|| self.refusal().map(|problem| (None, problem)));
        if let Some((lines, message)) = error {
            document["buildError"] = json!({ "message": message, "location": location(lines) });
        }
        document
    }
}

/// Lines as docker writes them.
pub(crate) fn location(lines: Option<Lines>) -> Value {
    match lines {
        None => json!({}),
        Some(Lines { start, end }) => {
            json!({ "ranges": [{ "start": { "line": start }, "end": { "line": end } }] })
        }
    }
}
