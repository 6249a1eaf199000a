//! `cutover registry gc | fsck | history | rollback | retain`.

use std::path::PathBuf;

use clap::Args;
use cutover_core::units::parse_duration;
use cutover_registry::server::{Moved, Order, Report, care};

use super::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::{clock, ui, who};

/// Which registry.
#[derive(Debug, Args)]
struct Where {
    /// Directory of the registry's data [default: ROOT/registry]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Where {
    /// Has the order carried out: by the registry that runs there, or here if none does.
    fn order(&self, ctx: &Ctx, order: &Order) -> Outcome<Report> {
        let data = super::data(self.data.clone(), ctx);
        if !data.join("registry.db").exists() {
            let text = format!("there is no registry in `{}`", data.display());
            return Err(
                Failure::msg(Kind::NotFound, text).hint("name its directory with `--data DIR`")
            );
        }
        care(&data, order, &who(), super::serve::ambient()).kind(Kind::Internal)
    }
}

/// Remove blobs, uploads and manifests that nothing uses; pushes and pulls go on
#[derive(Debug, Args)]
pub(super) struct Gc {
    #[command(flatten)]
    place: Where,
    /// Keep what came, or what a client was told of, in this time: a push takes no longer
    #[arg(long, value_name = "TIME", default_value = "24h")]
    grace: String,
    /// Also manifests without a tag that no index and no subject holds
    #[arg(long)]
    untagged: bool,
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
}

impl Gc {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let grace = parse_duration(&self.grace).kind(Kind::Usage)?.as_secs();
        let order = Order::Gc { grace, untagged: self.untagged, dry_run: self.dry_run };
        let Report::Collected(it) = self.place.order(ctx, &order)? else { return unexpected() };
        let would = if self.dry_run { "would remove" } else { "removed" };
        ctx.ui.data(format!(
            "{would} {} manifests, {} links, {} blobs, {} uploads: {} freed",
            it.manifests,
            it.links,
            it.blobs,
            it.uploads,
            ui::size(it.bytes)
        ))
    }
}

/// Hash everything again and name what is damaged
#[derive(Debug, Args)]
pub(super) struct Fsck {
    #[command(flatten)]
    place: Where,
    /// Take damaged blobs away, so that the next push brings them
    #[arg(long)]
    forget: bool,
}

impl Fsck {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let order = Order::Fsck { forget: self.forget };
        let Report::Checked { blobs, manifests, bytes, damaged } = self.place.order(ctx, &order)?
        else {
            return unexpected();
        };
        for it in &damaged {
            let done = if it.forgotten { "; taken away" } else { "" };
            ctx.ui.data(format!(
                "{} in {}: {}{done}",
                it.digest,
                it.repositories.join(", "),
                it.what
            ))?;
        }
        ctx.ui.say(format!("checked {blobs} blobs and {manifests} manifests, {}", ui::size(bytes)));
        if damaged.is_empty() {
            return Ok(());
        }
        let text = format!("{} of them are damaged", damaged.len());
        Err(Failure::msg(Kind::Internal, text).hint(
            "`cutover registry fsck --forget` takes damaged blobs away: push the images again",
        ))
    }
}

/// Show what a repository's tags were: who moved them, when, from where and where to
#[derive(Debug, Args)]
pub(super) struct History {
    #[command(flatten)]
    place: Where,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Entries to show
    #[arg(short = 'n', long, default_value_t = 50)]
    count: usize,
    repository: String,
    tag: Option<String>,
}

impl History {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let (repository, tag) = (self.repository, self.tag);
        let order = Order::History { repository, tag, count: self.count };
        let Report::History { entries } = self.place.order(ctx, &order)? else {
            return unexpected();
        };
        if self.json {
            return ctx.ui.json(&entries);
        }
        let now = clock::since_epoch();
        for it in entries {
            let then = std::time::Duration::from_secs(it.at.try_into().unwrap_or(0));
            let (old, new) = (it.old.as_deref().unwrap_or("-"), it.new.as_deref().unwrap_or("-"));
            let ago = clock::ago(then, now);
            ctx.ui.data(format!(
                "{}  {}  {}  {}  {ago}  {old} -> {new}",
                it.id, it.tag, it.what, it.who
            ))?;
        }
        Ok(())
    }
}

/// Make a repository's tags what they were right after an entry of its history
#[derive(Debug, Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    place: Where,
    /// Number of the entry, from `cutover registry history`
    #[arg(long, value_name = "ENTRY")]
    to: i64,
    /// Only this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
    repository: String,
}

impl Rollback {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let (repository, tag) = (self.repository, self.tag);
        let order = Order::Rollback { repository, tag, to: self.to, dry_run: self.dry_run };
        let Report::Moved { tags } = self.place.order(ctx, &order)? else { return unexpected() };
        show(ctx, &tags)
    }
}

/// Take away all but the newest tags; `gc --untagged` then removes what they needed
#[derive(Debug, Args)]
pub(super) struct Retain {
    #[command(flatten)]
    place: Where,
    /// How many of the newest stay, in each repository
    #[arg(long, value_name = "NUMBER")]
    keep: usize,
    /// Only tags that match; others are left alone
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    tags: String,
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
    /// Repositories: a name, or a pattern with `*`
    repositories: String,
}

impl Retain {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let Self { repositories, tags, keep, dry_run, place } = self;
        let order = Order::Retain { repositories, tags, keep, dry_run };
        let Report::Moved { tags } = place.order(ctx, &order)? else { return unexpected() };
        show(ctx, &tags)
    }
}

fn show(ctx: &Ctx, tags: &[Moved]) -> Outcome {
    for it in tags {
        let (old, new) = (it.old.as_deref().unwrap_or("-"), it.new.as_deref().unwrap_or("-"));
        ctx.ui.data(format!("{}:{}  {old} -> {new}", it.repository, it.tag))?;
    }
    Ok(())
}

fn unexpected() -> Outcome {
    let text = "the registry answered something else";
    Err(Failure::msg(Kind::Internal, text).hint("is it of another version?"))
}
