//! Where a finished image goes besides the store: `--output`, `--push`, `--metadata-file`, and the
//! annotations that it carries.

mod annotations;
mod attest;
mod deliver;
mod fields;
mod metadata;
mod parse;
mod push;

use std::path::PathBuf;

use clap::Args;
use cutover_build::{BuildOptions, Built};
use cutover_core::Reference;
use cutover_store::Store;

pub(super) use annotations::Annotations;
pub(super) use fields::Fields;

use self::parse::{Kind as What, Output};
use super::super::Ctx;
use crate::failure::{Failure, Kind, Outcome};

#[derive(Debug, Args)]
pub(super) struct Outputs {
    /// Where the image goes besides the store: `type=oci|docker|tar|local|image|registry,dest=…`, a directory, or `-`
    #[arg(short, long, value_name = "OUTPUT")]
    output: Vec<String>,
    /// Push it: `--output type=registry`
    #[arg(long)]
    push: bool,
    /// Accepted: the image is in the store in any case
    #[arg(long)]
    load: bool,
    /// Write digests and names as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Annotate the manifest, or `index:` or `manifest-descriptor:`
    #[arg(long, value_name = "[TYPE:]KEY=VALUE")]
    annotation: Vec<String>,
    #[command(flatten)]
    attest: attest::AttestFlags,
}

/// What is to be done, found right before anything is built.
#[derive(Debug)]
pub(super) struct Plan {
    outputs: Vec<Output>,
    pub(super) annotations: Annotations,
    metadata_file: Option<PathBuf>,
    attest: attest::Wanted,
}

pub(super) fn usage(problem: impl Into<String>) -> Failure {
    Failure::msg(Kind::Usage, problem.into())
}

impl Outputs {
    /// Checks everything that can be wrong; `platforms` is how many are built for.
    pub(super) fn plan(&self, tags: &[Reference], platforms: usize, quiet: bool) -> Outcome<Plan> {
        let mut annotations = Annotations::default();
        let mut outputs = Vec::new();
        for text in &self.output {
            outputs.push(parse::output(text, &mut annotations)?);
        }
        if self.push {
            outputs.push(parse::output("type=registry", &mut annotations)?);
        }
        for text in &self.annotation {
            annotations.add(text)?;
        }
        annotations.check(platforms)?;
        for output in &mut outputs {
            if output.names.is_empty() {
                output.names = tags.to_vec();
            }
            output.check(platforms)?;
        }
        let on_stdout = outputs.iter().filter(|output| output.is_stdout()).count();
        if on_stdout > 1 {
            return Err(usage("two outputs go to stdout: name a file with `dest=`"));
        }
        if on_stdout > 0 && quiet {
            return Err(usage("an output goes to stdout, and so would the digest of `--quiet`")
                .hint("use `--progress quiet` and `--iidfile FILE`"));
        }
        let attest = self.attest.plan()?;
        attest.check(&outputs)?;
        Ok(Plan { outputs, annotations, metadata_file: self.metadata_file.clone(), attest })
    }
}

impl Plan {
    /// Puts into the options what the build itself does.
    pub(super) fn apply(&self, options: &mut BuildOptions) {
        if let Some(platform) = &options.platform {
            options.annotations = self.annotations.of_manifest(platform);
        } else {
            options.annotations = self.annotations.of_manifest(&options.host_platform);
        }
    }

    /// Does it.
    pub(super) fn deliver(
        &self,
        ctx: &Ctx,
        store: &Store,
        options: &BuildOptions,
        built: &Built,
        (context, quiet): (&str, bool),
    ) -> Outcome {
        let attestations = attest::Attestations::new(&self.attest, options, built, context)?;
        let result = deliver::Result::read(store, built, options, &self.annotations)?;
        let mut exported = None;
        for output in &self.outputs {
            let ui = if quiet { ctx.ui.quiet() } else { ctx.ui };
            let descriptor = result.deliver(ui, store, output, &attestations)?;
            exported = match (descriptor, exported) {
                // what is in a registry is what others will ask for
                (Some(new), _) if output.kind == What::Push => Some(new),
                (new, old) => old.or(new),
            };
        }
        if let Some(path) = &self.metadata_file {
            let names: Vec<Reference> = match self.outputs.iter().find(|it| !it.names.is_empty()) {
                Some(output) => output.names.clone(),
                None => options.tags.clone(),
            };
            metadata::write(path, store, (&result, exported), &names, &attestations)?;
        }
        Ok(())
    }
}
