//! Bytes as a tar: headers, PAX records, GNU long names and sparse maps.
#![no_main]

use cutover_fuzz::sign;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let data = cutover_store::fuzzing::read_tar(bytes);
    assert!(data <= bytes.len() as u64, "more data than there are bytes");
    let signed = sign(bytes);
    let data = cutover_store::fuzzing::read_tar(&signed);
    assert!(data <= signed.len() as u64, "more data than there are bytes");
});
