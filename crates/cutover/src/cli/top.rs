//! `cutover top`.

use std::time::Duration;

use clap::Args;
use fs_err as fs;
use serde_json::json;

use super::Ctx;
use crate::clock;
use crate::failure::{Context, Kind, Outcome};

/// Show the processes of a running container
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Print JSON
    #[arg(long)]
    json: bool,
    container: String,
}

impl Top {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let container = ctx.containers()?.get(&self.container).kind(Kind::NotFound)?;
        let ticks = rustix::param::clock_ticks_per_second();
        let up = uptime()?;
        let mut pids = container.pids()?;
        pids.sort_unstable();
        // one that ended meanwhile is left out
        let processes: Vec<_> =
            pids.into_iter().filter_map(|pid| Process::read(pid, ticks)).collect();
        if self.json {
            let document = |one: &Process| {
                json!({
                    "pid": one.pid,
                    "ppid": one.stat.parent,
                    "uid": one.uid,
                    "cpuSeconds": one.stat.cpu.as_secs_f64(),
                    "ageSeconds": up.saturating_sub(one.stat.started).as_secs(),
                    "command": one.command,
                })
            };
            return ctx.ui.json(&processes.iter().map(document).collect::<Vec<_>>());
        }
        let rows = processes.iter().map(|one| {
            vec![
                one.uid.to_string(),
                one.pid.to_string(),
                one.stat.parent.to_string(),
                clock::human(up.saturating_sub(one.stat.started).as_secs()),
                cpu_time(one.stat.cpu),
                one.command.clone(),
            ]
        });
        ctx.ui.table(&["UID", "PID", "PPID", "UP", "TIME", "CMD"], rows.collect())
    }
}

/// One process, with the numbers that the host gives it.
#[derive(Debug)]
struct Process {
    pid: i32,
    uid: u32,
    stat: Stat,
    command: String,
}

impl Process {
    fn read(pid: i32, ticks: u64) -> Option<Self> {
        let file = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
        let text = |name| file(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (name, stat) = parse_stat(&text("stat")?, ticks)?;
        let status = text("status")?;
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        let uid = uid.split_whitespace().next()?.parse().ok()?;
        let command = command(&file("cmdline")?, &name);
        Some(Self { pid, uid, stat, command })
    }
}

/// What `/proc/PID/stat` tells (proc(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    /// User and system time.
    cpu: Duration,
    /// After the machine's start.
    started: Duration,
}

/// The program's name is whatever its process wants, parentheses and spaces as well.
fn parse_stat(text: &str, ticks: u64) -> Option<(String, Stat)> {
    let (before, after) = text.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let time = |index: usize| -> Option<Duration> {
        let count: u64 = fields.get(index)?.parse().ok()?;
        Some(Duration::from_millis(count.saturating_mul(1000) / ticks.max(1)))
    };
    let stat = Stat {
        parent: fields.get(1)?.parse().ok()?,
        cpu: time(11)?.saturating_add(time(12)?),
        started: time(19)?,
    };
    Some((name.to_owned(), stat))
}

/// The command line as one line that cannot move the reader's cursor; the name for one that has none.
fn command(cmdline: &[u8], name: &str) -> String {
    let text = String::from_utf8_lossy(cmdline);
    let line = text.trim_end_matches('\0').replace('\0', " ");
    let line = if line.is_empty() { format!("[{name}]") } else { line };
    line.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `hh:mm:ss`, as ps has it.
fn cpu_time(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Since the machine's start.
fn uptime() -> Outcome<Duration> {
    let text = fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Ok(seconds.map_or(Duration::ZERO, Duration::from_secs_f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let text = "7 (a) S (b) R 1 7 7 0 -1 4 1 0 0 0 150 50 0 0 20 0 1 0 900 1 1";
        let stat = Stat { parent: 1, cpu: Duration::from_secs(2), started: Duration::from_secs(9) };
        assert_eq!(parse_stat(text, 100), Some(("a) S (b".to_owned(), stat)));
        assert_eq!(parse_stat("7 (a) S 1", 100), None);
        assert_eq!(parse_stat("", 100), None);
    }

    #[test]
    fn a_command_line_is_one_line() {
        assert_eq!(command(b"sh\0-c\0echo\n\x1b[2J\0", "sh"), "sh -c echo??[2J");
        assert_eq!(command(b"", "kworker"), "[kworker]");
        assert_eq!(command(b"\xff\0", "x"), "\u{fffd}");
    }

    #[test]
    fn times() {
        assert_eq!(cpu_time(Duration::from_secs(3 * 3600 + 4 * 60 + 5)), "03:04:05");
    }
}
