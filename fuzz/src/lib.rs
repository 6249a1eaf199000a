//! What fuzz targets share.

/// Puts the right checksum into every tar header, so that mutations get past it. Blocks that are
/// data are changed, too, where they come to stand as headers: that is as good as any mutation.
pub fn sign(bytes: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut out = bytes.to_vec();
    let mut at = 0;
    while let Some(block) = out.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = block[124..136].iter().filter(|byte| (b'0'..=b'7').contains(*byte));
        let size = digits.fold(0_usize, |size, digit| {
            size.saturating_mul(8).saturating_add(usize::from(digit - b'0'))
        });
        at = at.saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
    }
    out
}
