//! How long a start takes. Run by hand, in release: `cargo nextest run --release -p cutover-runtime --test it
//! --run-ignored only --no-capture timing`.

use std::time::{Duration, Instant};

use cutover_runtime::init;
use cutover_runtime::spec::Spec;

use crate::bundle::{Bundle, streams, strings};

const ROUNDS: usize = 100;

#[test]
#[ignore = "a measurement, not a test"]
fn phases() {
    let bundle = Bundle::new();
    let spec = Spec { args: strings(&["/bin/busybox", "true"]), ..bundle.spec.clone() };
    let names = ["create", "start", "run and reap", "remove groups", "all"];
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); names.len()];
    for _ in 0..ROUNDS {
        let (io, _out, _err) = streams();
        let mut marks = vec![Instant::now()];
        let created = init::create(&spec, io).expect("created");
        let cgroup = created.cgroup.clone();
        marks.push(Instant::now());
        let running = created.start().expect("started");
        marks.push(Instant::now());
        running.wait().expect("waited");
        marks.push(Instant::now());
        cgroup.remove().expect("removed");
        marks.push(Instant::now());
        for (index, pair) in marks.windows(2).enumerate() {
            times[index].push(pair[1] - pair[0]);
        }
        times[names.len() - 1].push(marks[marks.len() - 1] - marks[0]);
    }
    for (name, mut times) in names.iter().zip(times) {
        times.sort();
        let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1000.0;
        println!("{name:>15}: min {:.2} median {:.2} p90 {:.2} ms", at(0), at(50), at(90));
    }
}
