//! A story: commands, one per line, and what followed from each.
//!
//! ```text
//! release                     a release of the services on the indented lines that follow
//!   web image=v1 routes=/
//! deploy 1 | rollback [N] | replace [SERVICE] | repair | down | resume | status
//! plan deploy 1               shows the plan, changes nothing
//! fail STEP: REASON           that step fails the next time
//! always fail STEP: REASON    that step fails until `heal`
//! cancel at STEP
//! kill INSTANCE [after STEP]
//! errors RELEASE PERCENT      instances of that release answer with 5xx
//! crash before|after N        the executor dies at the Nth action of the next deployment
//! taint INSTANCE
//! ```

use cutover_release::InstanceId;
use cutover_release::explain;

use crate::fake::{Fault, When};
use crate::site::{Site, Wish};

/// Plays `script` and returns it with what followed from each command.
pub(crate) fn play(script: &str) -> String {
    let mut site = Site::new();
    let mut out = Vec::new();
    let mut lines = script.lines().filter(|line| !line.trim().is_empty()).peekable();
    while let Some(line) = lines.next() {
        out.push(format!("> {line}"));
        if line == "release" {
            let mut services = Vec::new();
            while let Some(service) = lines.next_if(|line| line.starts_with(' ')) {
                out.push(format!("> {service}"));
                services.push(service);
            }
            let release = site.seal(services);
            out.push(format!("release {} {}", release.number, release.digest.short()));
        } else {
            command(&mut site, line);
            out.append(&mut site.said);
        }
        out.push(String::new());
    }
    for complaint in &site.world.complaints {
        out.push(format!("COMPLAINT: {complaint}"));
    }
    out.join("\n")
}

fn command(site: &mut Site, line: &str) {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "status" => site.said = site.status(),
        "resume" => {
            if site.resume().is_none() {
                site.said.push("nothing to resume".to_owned());
            }
        }
        "plan" => match site.plan(&wish(rest)) {
            Ok(plan) => site.said = explain::plan(&plan, &site.facts().releases),
            Err(error) => site.said.push(format!("error: {error}")),
        },
        "fail" => {
            let (step, reason) = rest.split_once(": ").expect("STEP: REASON");
            let (step, reason) = (step.to_owned(), reason.to_owned());
            site.world.faults.push(Fault::Fail { step, reason, times: 1, when: When::Before });
        }
        "always" => {
            let (step, reason) = rest.split_once(": ").expect("fail STEP: REASON");
            let step = step.strip_prefix("fail ").expect("fail").to_owned();
            let (reason, times) = (reason.to_owned(), u32::MAX);
            site.world.faults.push(Fault::Fail { step, reason, times, when: When::Before });
        }
        "heal" => site.world.faults.clear(),
        "cancel" => {
            let step = rest.strip_prefix("at ").expect("at STEP").to_owned();
            site.world.faults.push(Fault::Cancel { step });
        }
        "kill" => match rest.split_once(" after ") {
            Some((instance, step)) => {
                let instance = InstanceId(instance.to_owned());
                site.world.faults.push(Fault::Kill { instance, step: step.to_owned() });
            }
            None => site.world.end(&InstanceId(rest.to_owned())),
        },
        "errors" => {
            let (release, percent) = rest.split_once(' ').expect("RELEASE PERCENT");
            let percent = percent.parse().expect("a number");
            site.world.errors.insert(release.parse().expect("a number"), percent);
        }
        "crash" => {
            let (when, at) = rest.split_once(' ').expect("before|after N");
            let when = if when == "before" { When::Before } else { When::After };
            let at = at.parse::<usize>().expect("a number") - 1;
            site.world.faults.push(Fault::Die { at, when });
        }
        "taint" => {
            let found = site.world.instances.get_mut(&InstanceId(rest.to_owned()));
            found.expect("the instance exists").tainted = true;
        }
        _ => match site.go(&wish(line)) {
            Ok(Some(_)) => site.world.interrupt = None,
            Ok(None) => site.said.push("(the executor died)".to_owned()),
            Err(error) => site.said.push(format!("error: {error}")),
        },
    }
}

fn wish(line: &str) -> Wish {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "deploy" => Wish::Deploy(rest.parse().expect("a release")),
        "rollback" => Wish::Rollback(rest.parse().ok()),
        "replace" => Wish::Replace(rest.split_whitespace().map(str::to_owned).collect()),
        "repair" => Wish::Repair,
        "down" => Wish::Down,
        other => panic!("unknown command `{other}`"),
    }
}
