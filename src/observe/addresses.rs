//! A hasher for keys that are made of addresses: statics, and texts of the program's own making.
//! Nobody outside can choose them, so it need not withstand anybody, and hashing is a multiplication.

use std::hash::{BuildHasherDefault, Hasher};

/// For a map whose keys are addresses.
pub(super) type Addresses = BuildHasherDefault<AddressHasher>;

/// 2^64 by the golden ratio: an odd number whose bits look like chance.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Debug, Default)]
pub(super) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0.rotate_left(5) ^ address as u64).wrapping_mul(FACTOR);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        // A product is best at its top, and a map begins at the bottom.
        self.0.rotate_left(32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn neighbours_are_spread_over_a_maps_buckets() {
        let hasher = Addresses::default();
        let buckets = |step: usize| {
            let addresses = (0..1024).map(|n| 0x7F00_1234_5000 + n * step);
            let hash = |address: usize| hasher.hash_one((address, address + 8)) % 2048;
            addresses.map(hash).collect::<HashSet<_>>().len()
        };
        // 1,024 thrown into 2,048 by chance leave 806 of them in use.
        for step in [1, 8, 16, 24, 64, 4096, 1 << 20] {
            assert!(buckets(step) > 700, "{step}: {}", buckets(step));
        }
    }
}
