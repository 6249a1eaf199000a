//! Bytes as a Dockerfile: the parser, the checks, the outline, the list of targets.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cutover_build::fuzzing::dockerfile(bytes));
