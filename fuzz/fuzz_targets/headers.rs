//! What registries say in headers: ranges, challenges, tokens.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    cutover_registry::fuzzing::headers(text);
});
