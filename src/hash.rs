//! A hash that is the same in every version and on every machine. It decides when a scope is polled and which shard watches it. The hash
//! of the standard library may change with the compiler.

/// Returns the 64-bit FNV-1a hash of the fields, with a zero byte between them.
pub fn fnv1a(fields: &[&str]) -> u64 {
    let text = fields.join("\0");
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub fn split_mix(seed: u64, n: u64) -> u64 {
    let step = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut mixed = seed.wrapping_add(step);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
