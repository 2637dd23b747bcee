//! Random numbers with a seed that a failure can name (`BADGER_SEED=…` repeats a run).

/// A small generator (splitmix64); nothing here needs a better one.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// From `BADGER_SEED`, else from the process id; says which.
    pub(crate) fn new(test: &str) -> Self {
        let seed =
            std::env::var("BADGER_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(u64::from(std::process::id()));
        eprintln!("{test}: BADGER_SEED={seed}");
        Self(seed)
    }

    /// Below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % limit
    }
}
