//! `cargo nextest run -p cutover-runtime --test net --release --run-ignored only timing --no-capture`

use std::time::{Duration, Instant};

use cutover_runtime::net::{Endpoint, NetworkConfig, Networks};

use crate::world::{Host, Ns, endpoint, tcp};

#[test]
#[ignore = "prints times, decides nothing"]
fn timing() {
    let host = Host::new();
    for ports in [vec![], vec![tcp(0, 80)]] {
        let mut times: [Vec<Duration>; 5] = Default::default();
        for number in 0..60 {
            let ns = Ns::new();
            let endpoint = Endpoint { ports: ports.clone(), ..endpoint(&format!("c{number}")) };
            let mut clock = Instant::now();
            let mut lap = |index: usize| {
                times[index].push(clock.elapsed());
                clock = Instant::now();
            };
            let networks = Networks::open(host.root.path(), &host.root.path().join("run")).unwrap();
            lap(0);
            networks.ensure(&NetworkConfig::named("bridge")).unwrap();
            lap(1);
            let attached = networks.attach(&host.bridge, ns.fd(), &endpoint).unwrap();
            lap(2);
            networks.release(attached).unwrap();
            lap(3);
            drop(networks);
            lap(4);
        }
        println!("{} published", ports.len());
        for (name, mut times) in ["open", "ensure", "attach", "release", "close"].iter().zip(times)
        {
            times.sort();
            println!("  {name:8} min {:?} median {:?} p90 {:?}", times[0], times[30], times[54]);
        }
    }
}
