//! Chance that can be repeated.

use wharf_core::random::{Random, SystemRandom};

/// Numbers that look random and are the same for the same seed (splitmix64).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// A new seed for each run, or the one that is to be repeated; says which.
pub(crate) fn seed() -> u64 {
    let random: &dyn Random = &SystemRandom;
    let seed = match std::env::var("WHARF_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::from_be_bytes(random.bytes()),
    };
    eprintln!("seed {seed}: set WHARF_TEST_SEED to it to repeat this");
    seed
}
