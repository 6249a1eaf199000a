//! RUN: shell, heredocs, environment and history line.

use super::{Shared, Stage, StageError};
use crate::dockerfile::expand::Variables as _;
use crate::dockerfile::{Arg, CommandLine, MountFlag, Run, RunNetwork, announced_heredoc};
use crate::mount::Mount;
use crate::op::{Op, RunOp};
use crate::provision::{FOLDER, Provision};

impl Stage {
    pub(super) fn run(&mut self, run: &Run, shared: &Shared) -> Result<Op, StageError> {
        let (command, script) = self.with_heredocs(run)?;
        let args = self.with_shell(&command);
        let line = format!("RUN {} # buildkit", self.history_line(&args));
        let mounts = run.mounts.iter().map(|flag| {
            let expand = |text: &str| self.expand(text, shared);
            Mount::read(flag, self.cwd(), expand).map_err(StageError::Invalid)
        });
        let mounts = mounts.collect::<Result<_, _>>()?;
        self.commit(line, false);
        Ok(Op::Run(RunOp {
            args,
            env: self.vars.entries(),
            proxies: shared.proxies.clone(),
            cwd: self.cwd().to_owned(),
            user: self.image.config.user.clone(),
            network: run.network,
            script,
            mounts,
            insecure: run.insecure,
            provision: None,
        }))
    }

    /// A script, playbook or manifest: always root's, in its own folder.
    pub(super) fn provision(
        &mut self,
        step: &Provision,
        mounts: &[MountFlag],
        shared: &Shared,
    ) -> Result<Op, StageError> {
        let words = ["PROVISION".to_owned(), step.to_string()];
        let line = self.history_line(&words);
        let mounts = mounts.iter().map(|flag| {
            let expand = |text: &str| self.expand(text, shared);
            Mount::read(flag, "/", expand).map_err(StageError::Invalid)
        });
        let mounts = mounts.collect::<Result<_, _>>()?;
        self.commit(line, false);
        if let Some(last) = self.image.history.last_mut() {
            last.comment = Some("cutover.provision.v0".to_owned());
        }
        Ok(Op::Run(RunOp {
            args: words.to_vec(),
            env: self.vars.entries(),
            proxies: shared.proxies.clone(),
            cwd: FOLDER.to_owned(),
            user: "0".to_owned(),
            network: RunNetwork::Default,
            script: None,
            mounts,
            insecure: false,
            provision: Some(step.clone()),
        }))
    }

    /// Puts heredoc bodies where they belong: a lone one is the script itself, run by the shell or
    /// by its `#!`; others are handed to the shell as they were written.
    fn with_heredocs(
        &self,
        run: &Run,
    ) -> Result<(CommandLine, Option<(String, String)>), StageError> {
        let Some(first) = run.heredocs.first() else { return Ok((run.command.clone(), None)) };
        let [line] = run.command.words.as_slice() else {
            let problem = "a heredoc needs the shell form of RUN";
            return Err(StageError::Invalid(problem.to_owned()));
        };
        let shell = |text: String| CommandLine { words: vec![text], shell: true };
        if announced_heredoc(line).is_none() {
            let bodies = run.heredocs.iter();
            let text = bodies.fold(line.clone(), |text, heredoc| {
                format!("{text}\n{}{}", heredoc.content, heredoc.name)
            });
            return Ok((shell(text), None));
        }
        let content = first.file_content();
        if !content.starts_with("#!") {
            return Ok((shell(content), None));
        }
        let path = format!("/dev/pipes/{}", first.name);
        Ok((shell(path.clone()), Some((path, content))))
    }

    /// `|2 A=1 B=2 /bin/sh -c …`: the declared ARGs with the values that they have now.
    fn history_line(&self, args: &[String]) -> String {
        let mut declared: Vec<(&str, String)> = Vec::new();
        for Arg { name, default } in &self.args {
            let value = self.vars.get(name).or(default.as_deref()).unwrap_or_default();
            let entry = format!("{name}={value}");
            match declared.iter_mut().find(|(own, _)| own == name) {
                Some((_, own)) => *own = entry,
                None => declared.push((name, entry)),
            }
        }
        let mut words = Vec::new();
        if !declared.is_empty() {
            words.push(format!("|{}", declared.len()));
            words.extend(declared.into_iter().map(|(_, entry)| entry));
        }
        words.extend_from_slice(args);
        words.join(" ")
    }
}
