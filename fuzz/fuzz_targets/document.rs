//! Manifests, indexes and configs; a manifest and its config with a newline between.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    cutover_registry::fuzzing::document(bytes);
});
