//! The first byte is the mode, the first line the value of `$v`, the rest is expanded.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mode = text.as_bytes().first().copied().unwrap_or(0);
    let (value, text) = text.split_once('\n').unwrap_or(("a/b.c", text));
    cutover_build::fuzzing::expand(text, value, mode);
});
