//! Names of images.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    cutover_registry::fuzzing::reference(text);
});
