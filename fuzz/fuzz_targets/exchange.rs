//! What a sender says over a byte stream.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    cutover_registry::fuzzing::exchange(bytes);
});
