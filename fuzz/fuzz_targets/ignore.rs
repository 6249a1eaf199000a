//! The first line is a path, the rest is a `.dockerignore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (path, patterns) = text.split_once('\n').unwrap_or((text, text));
    cutover_build::fuzzing::ignore(patterns, path);
});
