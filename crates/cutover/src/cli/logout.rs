//! `cutover logout`.

use clap::Args;
use cutover_core::Reference;

use super::Ctx;
use crate::failure::{Context, Failure, Kind, Outcome};
use crate::transfer;

/// Forget the credentials for a registry
#[derive(Debug, Args)]
pub(super) struct Logout {
    /// Host, with a port where it has one; docker.io without
    registry: Option<String>,
}

impl Logout {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let registry = registry(self.registry.as_deref())?;
        let forgotten = transfer::keychain()
            .forget(&registry)
            .or_fail(Kind::Config, "forget the credentials")?;
        match forgotten {
            true => ctx.ui.data(format!("Removing login credentials for {registry}")),
            false => ctx.ui.data(format!("Not logged in to {registry}")),
        }
    }
}

/// The host that the user means; addresses are taken for their host, as docker does.
pub(super) fn registry(text: Option<&str>) -> Outcome<String> {
    let Some(text) = text else { return Ok("docker.io".to_owned()) };
    let host = text.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    // one word without a dot would be a repository of docker.io in a name, but is a host here
    let named = if host.contains(['.', ':']) || host == "localhost" {
        format!("{host}/x")
    } else {
        format!("{host}:443/x")
    };
    let parsed: Result<Reference, _> = named.parse();
    match parsed {
        Ok(reference) if host.contains(['.', ':']) || host == "localhost" => {
            Ok(reference.registry().to_owned())
        }
        Ok(_) => Ok(host.to_owned()),
        Err(_) => Err(Failure::msg(Kind::Usage, format!("`{text}` is not a registry"))
            .hint("write its host, e.g. `ghcr.io` or `localhost:5000`")),
    }
}

#[cfg(test)]
mod tests {
    use super::registry;

    #[test]
    fn hosts() {
        let check = |text: Option<&str>, expected: &str| {
            assert_eq!(registry(text).unwrap(), expected);
        };
        check(None, "docker.io");
        check(Some("https://index.docker.io/v1/"), "docker.io");
        check(Some("localhost:5000"), "localhost:5000");
        check(Some("ghcr.io/team"), "ghcr.io");
        assert!(registry(Some("a b")).is_err());
        assert!(registry(Some("")).is_err());
    }
}
