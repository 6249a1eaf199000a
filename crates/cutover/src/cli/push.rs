//! `cutover push`.

use clap::Args;
use cutover_core::{Digest, Reference};
use cutover_store::{LayerForm, Store};

use super::Ctx;
use crate::exchange::{self, Destination};
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::transfer;

/// Upload an image to a registry
#[derive(Debug, Args)]
#[command(after_help = "\
Layers of built images are compressed with zstd as they leave: every registry stores that, containerd and podman \
pull it, docker does since version 23. For older ones, use `--compression gzip`.")]
pub(super) struct Push {
    /// Name, with a tag; with `--all-tags`, without one
    image: Reference,
    /// Push every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// How to compress layers that are not: `zstd`, `gzip`, `uncompressed`, with a level as in `zstd:9`
    #[arg(long, value_name = "FORM")]
    compression: Option<LayerForm>,
    /// Send it to the store of another machine, which needs cutover and no registry: `ssh://[USER@]HOST[:PORT]`
    #[arg(long, value_name = "MACHINE", conflicts_with = "compression")]
    to: Option<Destination>,
    /// Print the name and nothing else
    #[arg(short, long)]
    quiet: bool,
}

impl Push {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let store = ctx.store()?;
        let images = self.images(&store)?;
        if let Some(to) = &self.to {
            let ui = if self.quiet { ctx.ui.quiet() } else { ctx.ui };
            exchange::push(ui, &store, &images, to)?;
            return images.iter().try_for_each(|(digest, name)| match self.quiet {
                true => ctx.ui.data(name.canonical()),
                false => {
                    let tag = name.tag().unwrap_or("digest");
                    ctx.ui.data(format!("{tag}: digest: {digest}"))
                }
            });
        }
        let mut options = transfer::options(cutover_store::host_platform())?;
        options.form = self.compression;
        let ui = if self.quiet { ctx.ui.quiet() } else { ctx.ui };
        ui.say(format!("The push refers to repository [{}]", self.image.name()));
        let pushed = transfer::push(ui, &store, &images, &options)?;
        for ((local, reference), pushed) in images.iter().zip(pushed) {
            let descriptor = pushed.descriptor;
            // what a registry calls it is a name of the image here, too, as after a pull
            store.images().tag(&reference.at(descriptor.digest.clone()), local)?;
            if self.quiet {
                ctx.ui.data(reference.canonical())?;
            } else {
                let tag = reference.tag().unwrap_or("digest");
                let (digest, size) = (descriptor.digest, descriptor.size);
                ctx.ui.data(format!("{tag}: digest: {digest} size: {size}"))?;
            }
        }
        Ok(())
    }

    /// What to push, and under which names.
    fn images(&self, store: &Store) -> Outcome<Vec<(Digest, Reference)>> {
        if !self.all_tags {
            let digest = store.images().resolve_digest(&self.image.to_string())?;
            let missing = || {
                let text = format!("An image does not exist locally with the tag: {}", self.image);
                Failure::msg(Kind::NotFound, text)
                    .hint("see `cutover images`; `cutover tag` gives names")
            };
            let digest = digest.ok_or_else(missing)?;
            // What was built for several platforms goes as a whole.
            let whole = super::build::platforms::index_of(store, &self.image, &digest);
            return Ok(vec![(whole.unwrap_or(digest), self.image.clone())]);
        }
        let names = store.images().names().or_fail(Kind::Internal, "list the images")?;
        let images: Vec<_> = names
            .into_iter()
            .filter(|(name, _)| name.digest().is_none() && name.name() == self.image.name())
            .map(|(name, digest)| (digest, name))
            .collect();
        if images.is_empty() {
            let name = self.image.familiar_name();
            let text = format!("An image does not exist locally with the tag: {name}");
            return Err(Failure::msg(Kind::NotFound, text).hint("see `cutover images`"));
        }
        Ok(images)
    }
}
