//! `cutover history`.

use clap::Args;
use serde_json::json;

use super::Ctx;
use crate::failure::Outcome;
use crate::{clock, ui};

/// Show how an image was made
#[derive(Debug, Args)]
pub(super) struct History {
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    image: String,
}

impl History {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let store = ctx.store()?;
        let lines = ctx.image(&store, &self.image)?.history(&store);
        if self.json {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| {
                    json!({
                        "created": line.created, "createdBy": line.created_by,
                        "comment": line.comment,
                        "size": line.layer.as_ref().map_or(0, |layer| layer.size),
                        "diffId": line.layer.as_ref().map(|layer| layer.diff_id.to_string()),
                    })
                })
                .collect();
            return ctx.ui.json(&lines);
        }
        let now = clock::since_epoch();
        let rows = lines.into_iter().map(|line| {
            let layer = line.layer.as_ref();
            let id = layer.map_or("<none>".to_owned(), |layer| layer.diff_id.short().to_owned());
            let created = line.created.as_deref().and_then(|text| text.parse().ok());
            let created = created.map_or("N/A".to_owned(), |then: jiff::Timestamp| {
                clock::ago(clock::span(then), now)
            });
            let by = line.created_by.split_whitespace().collect::<Vec<_>>().join(" ");
            let by = match self.no_trunc || by.chars().count() <= 60 {
                true => by,
                false => by.chars().take(59).chain(['…']).collect(),
            };
            vec![id, created, by, ui::size(layer.map_or(0, |layer| layer.size)), line.comment]
        });
        ctx.ui.table(&["LAYER", "CREATED", "CREATED BY", "SIZE", "COMMENT"], rows.collect())
    }
}
