//! Searches for the smallest sufficient number of connections.

/// Returns the smallest number of connections up to `most` for which `enough` is true; `None` if there
/// is none. `enough` must be true for all larger numbers too.
pub(crate) fn smallest(most: u32, enough: impl Fn(u32) -> bool) -> Option<u32> {
    // Double from 1 upwards, because the result is seldom near `most`; then bisect.
    let (mut fails, mut does) = (0, most.min(1));
    while does > fails && !enough(does) {
        (fails, does) = (does, does.saturating_mul(2).min(most));
    }
    if does <= fails {
        return None;
    }
    while does - fails > 1 {
        let middle = fails + (does - fails) / 2;
        match enough(middle) {
            true => does = middle,
            false => fails = middle,
        }
    }
    Some(does)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_sufficient_size_is_found() {
        for most in [1, 2, 7, 8, 9, 1000, u32::MAX] {
            for need in [1, 2, 3, 7, 8, 9, 500, 1000, u32::MAX] {
                let found = smallest(most, |size| size >= need);
                assert_eq!(found, (need <= most).then_some(need), "{need} of {most}");
            }
        }
        assert_eq!(smallest(0, |_| true), None);
    }
}
