//! Two layers, one on top of the other, into a temporary directory. Nothing may appear beside it.
#![no_main]

use std::fs;

use cutover_fuzz::sign;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::Builder::new().prefix("fuzz-unpack-").tempdir().expect("a temporary directory");
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    fs::create_dir(&lower).expect("a directory");
    fs::create_dir(&upper).expect("a directory");
    let bytes = sign(bytes);
    let half = bytes.len() / 1024 * 512;
    cutover_store::fuzzing::unpack_layer(&bytes[..half], &lower, Vec::new());
    cutover_store::fuzzing::unpack_layer(&bytes[half..], &upper, vec![lower]);
    let beside = fs::read_dir(dir.path()).expect("the directory").count();
    assert_eq!(beside, 2, "something was written beside the layers");
});
