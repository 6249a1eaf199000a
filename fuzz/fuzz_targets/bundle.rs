//! A bundle's `config.json`: reading and checking it refuses or accepts, and what is accepted survives being written.
#![no_main]

use cutover_runtime::oci::config;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    let Ok(read) = config::parse(text) else { return };
    if config::check(&read).is_err() {
        return;
    }
    let written = serde_json::to_vec(&read).expect("it was read from JSON");
    let again = config::parse(&written).expect("what was written can be read");
    assert!(config::check(&again).is_ok());
});
