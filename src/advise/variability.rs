//! How much longer or shorter than the chain's the wait is, because times are not exponential.
//!
//! Allen and Cunneen's factor `(ca² + cs²) / 2` (A. O. Allen, *Probability, Statistics and Queueing
//! Theory*, 1990) is exact for one server, and in heavy traffic for many. In light traffic on many
//! servers it is corrected as by W. Whitt, *Approximations for the GI/G/m queue*, 1993 (2.24).

/// Of arrivals and holds of these squared variations, at `size` connections.
pub(super) fn factor(arrivals: f64, holds: f64, size: u32, utilization: f64) -> f64 {
    let mean = f64::midpoint(arrivals, holds);
    let correction = correction(arrivals, holds, f64::from(size), utilization);
    if correction.is_finite() && correction > 0.0 {
        mean * correction
    } else {
        mean
    }
}

fn correction(arrivals: f64, holds: f64, size: f64, utilization: f64) -> f64 {
    let spare = 1.0 - utilization;
    let many = (4.0 + 5.0 * size).sqrt() - 2.0;
    let light = (spare * (size - 1.0) * many / (16.0 * size * utilization)).min(0.24);
    // For holds that never vary and chance arrivals, and the other way round.
    let steady_holds = 1.0 + light;
    let steady_arrivals = (1.0 - 4.0 * light) * (-2.0 * spare / (3.0 * utilization)).exp();
    let both = f64::midpoint(steady_holds, steady_arrivals).min(1.0);
    let mean = f64::midpoint(arrivals, holds);
    let between = if mean >= 1.0 {
        1.0
    } else {
        both.powf(2.0 * (1.0 - mean))
    };
    if arrivals >= holds {
        let of = 4.0 * arrivals - 3.0 * holds;
        (4.0 * (arrivals - holds) * steady_holds + holds * between) / of
    } else {
        let of = 2.0 * (arrivals + holds);
        ((holds - arrivals) * steady_arrivals + (holds + 3.0 * arrivals) * between) / of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_times_need_none() {
        for size in [1, 4, 100] {
            for utilization in [0.1, 0.5, 0.99] {
                assert!((factor(1.0, 1.0, size, utilization) - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn one_server_is_pollaczek_and_khinchine() {
        for holds in [0.0, 0.3, 1.0] {
            let found = factor(1.0, holds, 1, 0.7);
            assert!(
                (found / f64::midpoint(1.0, holds) - 1.0).abs() < 0.05,
                "{holds} {found}"
            );
        }
    }

    #[test]
    fn in_heavy_traffic_it_is_allen_and_cunneen() {
        for (arrivals, holds) in [(1.0, 0.1), (1.0, 4.0), (0.3, 0.5)] {
            let found = factor(arrivals, holds, 20, 0.9999);
            assert!((found / f64::midpoint(arrivals, holds) - 1.0).abs() < 1e-3);
        }
    }
}
