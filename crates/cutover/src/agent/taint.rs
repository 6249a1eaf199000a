//! `exec` into an instance of a release: allowed, recorded or refused by the release's own word.

use std::collections::BTreeMap;

use cutover_core::service::Exec;

use super::instance::label;
use super::protocol::{Event, Request};
use super::{client, ledger};
use crate::cli::Ctx;
use crate::failure::{Failure, Kind, Outcome};

/// Asks the release, and records a taint before anything happens.
pub(crate) fn before_exec(
    ctx: &Ctx,
    labels: &BTreeMap<String, String>,
    command: &[String],
) -> Outcome {
    let get = |key: &str| labels.get(key).cloned().unwrap_or_default();
    let (app, service, instance) = (get(label::APP), get(label::SERVICE), get(label::INSTANCE));
    match policy(ctx, &app, &service, &get(label::SPEC))? {
        Exec::Allow => return Ok(()),
        Exec::Deny => {
            let text =
                format!("`{instance}` of `{app}` may not be entered: `x-cutover.exec` is `deny`");
            return Err(Failure::msg(Kind::Usage, text)
                .hint("deploy a release that allows it; look from outside with `cutover logs`"));
        }
        Exec::Taint => {}
    }
    let command = command.join(" ");
    let request = Request::Taint { app, instance: instance.clone(), who: crate::who(), command };
    match client::ask(&ctx.paths, &request)? {
        Some(Event::Refused { report, hint }) => {
            let failure = Failure::msg(Kind::Internal, report);
            Err(Failure { hint, ..failure })
        }
        Some(_) => {
            ctx.ui.warn(format!("`{instance}` is tainted by this: see `cutover status`"));
            Ok(())
        }
        None => Err(Failure::msg(Kind::Internal, "the agent is not there to record this command")
            .hint("start it with `cutover agent -d`")),
    }
}

/// What the release that describes the instance says.
fn policy(ctx: &Ctx, app: &str, service: &str, spec: &str) -> Outcome<Exec> {
    let Some(ledger) = ledger::open_existing(&ctx.paths)? else { return Ok(Exec::default()) };
    let releases = ledger.releases(app)?;
    let sealed = releases
        .values()
        .rev()
        .filter_map(|release| release.services.get(service))
        .find(|sealed| sealed.instance_digest().as_str() == spec);
    Ok(sealed.map_or(Exec::default(), |sealed| sealed.service.cutover.exec))
}
