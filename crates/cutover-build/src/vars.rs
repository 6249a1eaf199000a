//! Variables of a build: an ordered list, the automatic platform ARGs, the predefined proxy ARGs.

use std::collections::BTreeMap;

use cutover_core::oci::Platform;

use crate::dockerfile::expand::{ExpandError, Expander, Variables};
use crate::dockerfile::{Instruction, Kind};
use crate::platform;

/// Names and values in the order in which they were first set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vars(Vec<(String, String)>);

impl Variables for Vars {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

impl Vars {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => value.clone_into(own),
            None => self.0.push((name.to_owned(), value.to_owned())),
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// `KEY=value`, in order.
    pub(crate) fn entries(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

/// Proxy variables: usable without ARG, visible to RUN, in no history and no cache key.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// What RUN gets of the proxy build arguments: each in both cases, as BuildKit sets them.
pub(crate) fn proxies(build_args: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for name in PROXIES {
        // the lower case spelling sorts last and wins
        let given = build_args.iter().rfind(|(given, _)| given.eq_ignore_ascii_case(name));
        if let Some((_, value)) = given.filter(|(_, value)| !value.is_empty()) {
            out.push((name.to_owned(), value.clone()));
            out.push((name.to_ascii_lowercase(), value.clone()));
        }
    }
    out
}

/// Whether a --build-arg has a meaning without an ARG in the Dockerfile.
pub(crate) fn is_predefined(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    PROXIES.contains(&upper.as_str())
        || name.starts_with("BUILDKIT_")
        || name.starts_with("TARGET")
        || name.starts_with("BUILD")
        || name == "SOURCE_DATE_EPOCH"
}

/// The automatic ARGs; a --build-arg of the same name wins.
pub(crate) fn automatic(
    host: &Platform,
    target: &Platform,
    target_stage: Option<&str>,
    build_args: &BTreeMap<String, String>,
) -> Vars {
    let mut vars = Vars::default();
    let variant = |platform: &Platform| platform.variant.clone().unwrap_or_default();
    let version = |platform: &Platform| platform.os_version.clone().unwrap_or_default();
    for (name, value) in [
        ("BUILDPLATFORM", platform::format(host)),
        ("BUILDOS", host.os.clone()),
        ("BUILDOSVERSION", version(host)),
        ("BUILDARCH", host.architecture.clone()),
        ("BUILDVARIANT", variant(host)),
        ("TARGETPLATFORM", platform::format(target)),
        ("TARGETOS", target.os.clone()),
        ("TARGETOSVERSION", version(target)),
        ("TARGETARCH", target.architecture.clone()),
        ("TARGETVARIANT", variant(target)),
        ("TARGETSTAGE", target_stage.unwrap_or("default").to_owned()),
    ] {
        vars.set(name, build_args.get(name).unwrap_or(&value));
    }
    vars
}

/// Evaluates the ARGs before the first FROM on top of the automatic ones.
pub(crate) fn global<'a>(
    mut vars: Vars,
    instructions: &'a [Instruction],
    escape: char,
    build_args: &BTreeMap<String, String>,
) -> Result<Vars, (&'a Instruction, ExpandError)> {
    for instruction in instructions {
        let Kind::Arg(args) = &instruction.kind else { continue };
        for arg in args {
            if let Some(given) = build_args.get(&arg.name) {
                vars.set(&arg.name, given);
            } else if let Some(default) = &arg.default {
                let expanded = Expander::new(escape)
                    .word(default, &vars)
                    .map_err(|error| (instruction, error))?;
                vars.set(&arg.name, &expanded.text);
            }
        }
    }
    Ok(vars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globals_see_earlier_globals_and_build_args_win() {
        let text = b"ARG a=1 b=$a$TARGETARCH\nARG c\nARG b=${b}x\nFROM scratch";
        let file = crate::dockerfile::parse(text).unwrap();
        let host = Platform::new("linux", "amd64");
        let args = BTreeMap::from([("c".to_owned(), "given".to_owned())]);
        let vars = automatic(&host, &Platform::new("linux", "s390x"), None, &args);
        let vars = global(vars, &file.global_args, '\\', &args).unwrap();
        assert_eq!(vars.get("b"), Some("1s390xx"));
        assert_eq!(vars.get("c"), Some("given"));
        assert_eq!(vars.get("BUILDPLATFORM"), Some("linux/amd64"));
        assert_eq!(vars.get("TARGETSTAGE"), Some("default"));
    }

    #[test]
    fn proxies_come_in_both_cases() {
        let args = BTreeMap::from([("http_proxy".to_owned(), "p".to_owned())]);
        let pair = |name: &str| (name.to_owned(), "p".to_owned());
        assert_eq!(proxies(&args), [pair("HTTP_PROXY"), pair("http_proxy")]);
    }
}
