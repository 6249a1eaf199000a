//! `cutover images`.

use clap::Args;
use cutover_store::ImageRecord;
use serde::Serialize;

use super::Ctx;
use crate::failure::Outcome;
use crate::{clock, ui};

/// List images
#[derive(Debug, Args)]
pub(super) struct Images {
    /// Only images of this repository, or this name
    name: Option<String>,
    /// Print digests only
    #[arg(short, long)]
    quiet: bool,
    /// Show digests in full
    #[arg(long)]
    no_trunc: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One line: an image under one of its names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    repository: String,
    tag: String,
    digest: String,
    created: Option<String>,
    size: u64,
}

impl Images {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let (records, errors) = ctx.store()?.images().list()?;
        let lines: Vec<Line> = records.iter().flat_map(lines).collect();
        let wanted = |line: &Line| match self.name.as_deref() {
            None => true,
            Some(name) => {
                line.repository == name || format!("{}:{}", line.repository, line.tag) == name
            }
        };
        let lines: Vec<Line> = lines.into_iter().filter(wanted).collect();
        for error in errors {
            ctx.ui.warn(format!("{:#}", anyhow::Error::new(error)));
        }
        if self.json {
            return ctx.ui.json(&lines);
        }
        let digest = |line: &Line| match self.no_trunc {
            true => line.digest.clone(),
            false => line.digest[7..19].to_owned(),
        };
        if self.quiet {
            let mut last = String::new();
            for line in &lines {
                if line.digest != last {
                    ctx.ui.data(digest(line))?;
                }
                last.clone_from(&line.digest);
            }
            return Ok(());
        }
        let now = clock::since_epoch();
        let rows = lines.iter().map(|line| {
            let created = line.created.as_deref().and_then(|text| text.parse().ok());
            let created = created.map_or("N/A".to_owned(), |then: jiff::Timestamp| {
                clock::ago(clock::span(then), now)
            });
            vec![
                line.repository.clone(),
                line.tag.clone(),
                digest(line),
                created,
                ui::size(line.size),
            ]
        });
        ctx.ui.table(&["REPOSITORY", "TAG", "DIGEST", "CREATED", "SIZE"], rows.collect())
    }
}

fn lines(record: &ImageRecord) -> Vec<Line> {
    let line = |repository: String, tag: &str| Line {
        repository,
        tag: tag.to_owned(),
        digest: record.image.digest.to_string(),
        created: record.image.config.created.clone(),
        size: record.size,
    };
    let tagged = record.tags.iter();
    let lines: Vec<Line> =
        tagged.map(|name| line(name.familiar_name(), name.tag().unwrap_or("<none>"))).collect();
    match (lines.is_empty(), record.digests.first()) {
        (false, _) => lines,
        (true, Some(name)) => vec![line(name.familiar_name(), "<none>")],
        (true, None) => vec![line("<none>".to_owned(), "<none>")],
    }
}
