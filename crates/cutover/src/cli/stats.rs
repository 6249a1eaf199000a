//! `cutover stats`.

use std::time::{Duration, Instant};

use clap::Args;
use cutover_runtime::cgroup;
use cutover_runtime::container::{Container, Containers, Error};
use fs_err as fs;
use serde_json::json;

use super::Ctx;
use crate::failure::{Context, Kind, Outcome};
use crate::ui::size;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// Show what running containers use, again every second
#[derive(Debug, Args)]
#[command(
    after_help = "CPU % is of one processor: two busy ones are 200 %. Memory is without page cache that can be reclaimed, as docker counts it."
)]
pub(super) struct Stats {
    /// Show it once and end
    #[arg(long)]
    no_stream: bool,
    /// Print JSON: one array for each look
    #[arg(long)]
    json: bool,
    /// All running ones if none is named
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stats {
    pub(super) fn run(self, ctx: &Ctx) -> Outcome {
        let containers = ctx.containers()?;
        for name in &self.containers {
            containers.get(name).kind(Kind::NotFound)?;
        }
        let on_terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
        let mut before = self.look(&containers)?;
        loop {
            std::thread::sleep(PERIOD);
            let now = self.look(&containers)?;
            let rows: Vec<Row> = now
                .iter()
                .map(|sample| Row::between(before.iter().find(|old| old.id == sample.id), sample))
                .collect();
            if self.json {
                ctx.ui.json(&rows.iter().map(Row::document).collect::<Vec<_>>())?;
            } else {
                if on_terminal && !self.no_stream {
                    ctx.ui.data("\x1b[H\x1b[2J")?;
                }
                let headings = [
                    "CONTAINER ID",
                    "NAME",
                    "CPU %",
                    "MEM USAGE / LIMIT",
                    "MEM %",
                    "NET I/O",
                    "PIDS",
                ];
                ctx.ui.table(&headings, rows.iter().map(Row::cells).collect())?;
            }
            if self.no_stream {
                return Ok(());
            }
            before = now;
        }
    }

    /// One look at each of the containers that run now.
    fn look(&self, containers: &Containers) -> Outcome<Vec<Sample>> {
        let mut samples = Vec::new();
        for summary in containers.list()? {
            let config = &summary.config;
            let named = self.containers.is_empty()
                || self.containers.iter().any(|name| {
                    *name == config.name || config.id.as_str().starts_with(name.as_str())
                });
            if !named || !summary.state.status.is_live() {
                continue;
            }
            match containers.get(config.id.as_str()) {
                Ok(container) => samples.extend(Sample::take(&container, summary.state.pid)),
                // it ended meanwhile
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(samples)
    }
}

/// One container at one moment.
#[derive(Clone, Debug)]
struct Sample {
    id: String,
    short: String,
    name: String,
    at: Instant,
    usage: cgroup::Stats,
    /// Bytes received and sent on all networks.
    network: (u64, u64),
}

impl Sample {
    /// `None` for one that ended meanwhile.
    fn take(container: &Container, pid: Option<i32>) -> Option<Self> {
        let usage = container.stats().ok()?;
        let network = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/net/dev")).ok());
        Some(Self {
            id: container.id().as_str().to_owned(),
            short: container.id().short().to_owned(),
            name: container.name().to_owned(),
            at: Instant::now(),
            usage,
            network: network.as_deref().map(traffic).unwrap_or_default(),
        })
    }
}

/// Bytes received and sent, of all interfaces but loopback (`/proc/PID/net/dev`).
fn traffic(text: &str) -> (u64, u64) {
    let interfaces = text.lines().filter_map(|line| line.split_once(':'));
    let counted = interfaces.filter(|(name, _)| name.trim() != "lo").filter_map(|(_, numbers)| {
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        Some((numbers.first()?.parse::<u64>().ok()?, numbers.get(8)?.parse::<u64>().ok()?))
    });
    counted.fold((0, 0), |sum, one| (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1)))
}

/// A line of the table.
#[derive(Debug)]
struct Row {
    sample: Sample,
    /// Of one processor; `None` for a container that was not there at the look before.
    cpu_percent: Option<f64>,
}

impl Row {
    fn between(before: Option<&Sample>, now: &Sample) -> Self {
        let cpu_percent = before.map(|before| {
            let used = now.usage.cpu_usec.saturating_sub(before.usage.cpu_usec);
            percent(Duration::from_micros(used), now.at.duration_since(before.at))
        });
        Self { sample: now.clone(), cpu_percent }
    }

    fn memory_percent(&self) -> Option<f64> {
        let usage = &self.sample.usage;
        #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
        usage.memory_limit.map(|limit| usage.memory as f64 * 100.0 / limit.max(1) as f64)
    }

    fn cells(&self) -> Vec<String> {
        let Sample { short, name, usage, network, .. } = &self.sample;
        let shown =
            |value: Option<f64>| value.map_or("--".to_owned(), |value| format!("{value:.2}%"));
        let limit = usage.memory_limit.map_or("--".to_owned(), size);
        let pids = match usage.pids_limit {
            Some(limit) => format!("{} / {limit}", usage.pids),
            None => usage.pids.to_string(),
        };
        vec![
            short.clone(),
            name.clone(),
            shown(self.cpu_percent),
            format!("{} / {limit}", size(usage.memory)),
            shown(self.memory_percent()),
            format!("{} / {}", size(network.0), size(network.1)),
            pids,
        ]
    }

    fn document(&self) -> serde_json::Value {
        let Sample { id, name, usage, network, .. } = &self.sample;
        json!({
            "id": id,
            "name": name,
            "cpuPercent": self.cpu_percent,
            "cpuMicros": usage.cpu_usec,
            "memoryBytes": usage.memory,
            "memoryLimitBytes": usage.memory_limit,
            "pids": usage.pids,
            "pidsLimit": usage.pids_limit,
            "oomKills": usage.oom_kills,
            "receivedBytes": network.0,
            "sentBytes": network.1,
        })
    }
}

/// `used` of `wall`, in hundredths.
fn percent(used: Duration, wall: Duration) -> f64 {
    match wall.is_zero() {
        true => 0.0,
        false => used.as_secs_f64() * 100.0 / wall.as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_does_not_count() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets\n    \
            lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  \
            eth0: 7 1 0 0 0 0 0 0 11 1 0 0 0 0 0 0\n  eth1:1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(traffic(text), (8, 13));
        assert_eq!(traffic("eth0: nonsense"), (0, 0));
    }

    #[test]
    fn percent_is_of_one_processor() {
        let second = Duration::from_secs(1);
        assert_eq!(percent(2 * second, second).to_bits(), 200f64.to_bits());
        assert_eq!(percent(second, Duration::ZERO).to_bits(), 0f64.to_bits());
    }
}
