//! A birth-death chain: so many connections wanted, in use or queued for, and how long an arrival
//! then waits.
//!
//! With `λ` arrivals a second, `μ(n)` departures at level `n` and `μ(c)` at all levels beyond the
//! pool's size `c`, an arrival that finds `c` or more waits for exponential stages of rate `μ(c)`,
//! so its wait exceeds `t` with probability `exp(-(μ(c) - λ)t)`. Where `μ(n) = nμ` this is Erlang's
//! C formula (A. K. Erlang, 1917).
//!
//! Arrivals that come in bursts have two rates between which they switch (a Markov-modulated
//! Poisson process). The chain then has two phases a level and is solved by the matrix-geometric
//! method (M. Neuts, *Matrix-Geometric Solutions*, 1981): `π(n+1) = π(n) R(n)`, with one `R` beyond
//! `c`, whose two eigenvalues are the tail's two rates.

/// `P(W > t) = Σ share · exp(-rate · t)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tail {
    pub(super) parts: [(f64, f64); 2],
}

impl Tail {
    /// All wait.
    pub(super) fn exponential(rate: f64) -> Self {
        Self {
            parts: [(1.0, rate), (0.0, rate)],
        }
    }

    /// With no part slower than `rate`.
    pub(super) fn no_longer_than(self, rate: f64) -> Self {
        Self {
            parts: self.parts.map(|(share, of)| (share, of.max(rate))),
        }
    }

    #[cfg(test)]
    pub(super) fn queueing(&self) -> f64 {
        self.parts.iter().map(|(share, _)| share).sum()
    }
}

/// Arrivals that switch between two rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Phases {
    /// The lower first; they differ.
    pub(super) rates: [f64; 2],
    /// How often each is left for the other, per second.
    pub(super) left: [f64; 2],
}

impl Phases {
    pub(super) fn mean(&self) -> f64 {
        let [a, b] = self.left;
        (self.rates[0] * b + self.rates[1] * a) / (a + b)
    }
}

/// Of Poisson arrivals at `rate` to `size` connections, whose levels are left by `service`, and by
/// `best` with more wanted than there are; none if they are too many.
pub(super) fn poisson(
    rate: f64,
    size: u32,
    best: f64,
    service: impl Fn(u32) -> f64,
) -> Option<Tail> {
    if !(rate >= 0.0 && rate < best) {
        return None;
    }
    let (mut weight, mut below) = (1.0_f64, 1.0_f64);
    for level in 1..=size {
        weight *= rate / service(level);
        if level < size {
            below += weight;
        }
        // Only ratios matter: neither may grow out of what a float can hold.
        if below > 1e200 || weight > 1e200 {
            let by = below.max(weight);
            weight /= by;
            below /= by;
        }
    }
    let beyond = weight / (1.0 - rate / best);
    let share = 1.0 / (1.0 + below / beyond);
    share.is_finite().then_some(Tail {
        parts: [(share, best - rate), (0.0, best)],
    })
}

type Matrix = [[f64; 2]; 2];

/// Of arrivals in two phases; none if they are too many.
pub(super) fn modulated(
    arrivals: &Phases,
    size: u32,
    best: f64,
    service: impl Fn(u32) -> f64,
) -> Option<Tail> {
    let [low, high] = arrivals.rates;
    let [leaves_low, leaves_high] = arrivals.left;
    let mean = arrivals.mean();
    if !(low >= 0.0 && high > low && mean < best && leaves_low > 0.0 && leaves_high > 0.0) {
        return None;
    }
    // The eigenvalues `r` of R are the roots within (0, 1) of this polynomial; it is not negative at
    // 0, negative at low/best, and positive at the upper end.
    let characteristic = |r: f64| {
        let (l, h) = (low - best * r, high - best * r);
        (1.0 - r) * l * h - r * (leaves_high * l + leaves_low * h)
    };
    let slow = bisect(0.0, low / best, |r| characteristic(r) > 0.0);
    let fast = bisect(low / best, (high / best).min(1.0), |r| {
        characteristic(r) < 0.0
    });
    // Their left eigenvectors.
    let surplus = |rate: f64, r: f64| (1.0 - r) * (rate - best * r);
    let vectors: Matrix = [
        [slow * leaves_high - surplus(high, slow), slow * leaves_low],
        [fast * leaves_high, fast * leaves_low - surplus(low, fast)],
    ];
    let inverse = invert(&vectors)?;
    let scaled = [
        [vectors[0][0] * slow, vectors[0][1] * slow],
        [vectors[1][0] * fast, vectors[1][1] * fast],
    ];
    let geometric = times(&inverse, &scaled);

    // Downwards: R(n-1) = Λ (Λ + μ(n) - Q - μ(n+1) R(n))⁻¹.
    let outflow = |served: f64, next: f64, ratio: &Matrix| -> Matrix {
        [
            [
                low + served + leaves_low - next * ratio[0][0],
                -leaves_low - next * ratio[0][1],
            ],
            [
                -leaves_high - next * ratio[1][0],
                high + served + leaves_high - next * ratio[1][1],
            ],
        ]
    };
    let mut ratios = Vec::with_capacity(size as usize);
    let (mut ratio, mut next) = (geometric, best);
    for level in (1..=size).rev() {
        let served = service(level);
        let inverse = invert(&outflow(served, next, &ratio))?;
        ratio = [
            [low * inverse[0][0], low * inverse[0][1]],
            [high * inverse[1][0], high * inverse[1][1]],
        ];
        ratios.push(ratio);
        next = served;
    }

    // Upwards from the empty pool, whose two phases balance each other.
    let empty = outflow(0.0, next, &ratio);
    let mut at = [-empty[1][0] + empty[1][1], empty[0][0] - empty[0][1]];
    let mut below = 0.0;
    for ratio in ratios.iter().rev() {
        let sum = at[0] + at[1];
        below += sum;
        if below > 1e200 {
            at = [at[0] / below, at[1] / below];
            below = 1.0;
        }
        at = row(&at, ratio);
    }
    let parts_of = row(&at, &inverse);
    let part = |i: usize, r: f64| {
        let many = parts_of[i] / (1.0 - r);
        let vector = vectors[i];
        (
            many * (vector[0] + vector[1]),
            many * (vector[0] * low + vector[1] * high) / mean,
        )
    };
    let ((a, slow_share), (b, fast_share)) = (part(0, slow), part(1, fast));
    let all = below + a + b;
    let parts = [
        (fast_share / all, best * (1.0 - fast)),
        (slow_share / all, best * (1.0 - slow)),
    ];
    let queueing = parts[0].0 + parts[1].0;
    let usable = parts.iter().all(|(s, r)| s.is_finite() && *r > 0.0);
    (usable && (0.0..=1.0 + 1e-9).contains(&queueing)).then_some(Tail { parts })
}

/// Where `holds` stops to hold.
fn bisect(from: f64, to: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut from, mut to) = (from, to);
    for _ in 0..100 {
        let middle = f64::midpoint(from, to);
        if middle <= from || middle >= to {
            break;
        }
        if holds(middle) {
            from = middle;
        } else {
            to = middle;
        }
    }
    f64::midpoint(from, to)
}

fn invert(m: &Matrix) -> Option<Matrix> {
    let determinant = m[0][0] * m[1][1] - m[0][1] * m[1][0];
    let by = 1.0 / determinant;
    by.is_finite()
        .then(|| [[m[1][1] * by, -m[0][1] * by], [-m[1][0] * by, m[0][0] * by]])
}

fn times(a: &Matrix, b: &Matrix) -> Matrix {
    [row(&a[0], b), row(&a[1], b)]
}

fn row(a: &[f64; 2], m: &Matrix) -> [f64; 2] {
    [
        a[0] * m[0][0] + a[1] * m[1][0],
        a[0] * m[0][1] + a[1] * m[1][1],
    ]
}
