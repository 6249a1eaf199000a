//! A shell script: run in the container, in its folder.

use std::io::Read as _;

use super::{Bench, Prepared};
use crate::provision::FOLDER;
use crate::solve::steps::Failure;

/// As long as the kernel lets the line be.
const LINE: u64 = 256;

pub(super) fn prepare(bench: &Bench<'_>) -> Result<Prepared, Failure> {
    let mut head = Vec::new();
    let script = bench.folder.join(bench.step.name());
    fs_err::File::open(script)?.take(LINE).read_to_end(&mut head)?;
    let mut args = interpreter(&String::from_utf8_lossy(&head));
    args.push(format!("{FOLDER}/{}", bench.step.name()));
    let (tool, cwd) = (bench.step.tool, FOLDER.to_owned());
    Ok(Prepared { tool, args, cwd, env: Vec::new(), outside: None })
}

/// What a script's `#!` names, as the kernel reads it: the file itself may lack the permission. A
/// script without one is the shell's.
pub(super) fn interpreter(head: &str) -> Vec<String> {
    let line = head.lines().next().unwrap_or_default();
    let words = line.strip_prefix("#!").map(str::trim).unwrap_or_default();
    match words.split_once(char::is_whitespace) {
        Some((program, argument)) => vec![program.to_owned(), argument.trim().to_owned()],
        None if words.is_empty() => vec!["/bin/sh".to_owned()],
        None => vec![words.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::interpreter;

    #[test]
    fn interpreters() {
        let check = |head: &str, expected: &[&str]| assert_eq!(interpreter(head), expected);
        check("#!/bin/bash\nx", &["/bin/bash"]);
        check("#! /usr/bin/env -S bash -e \nx", &["/usr/bin/env", "-S bash -e"]);
        check("echo x", &["/bin/sh"]);
        check("", &["/bin/sh"]);
        check("#!\n", &["/bin/sh"]);
    }
}
