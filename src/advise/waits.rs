//! The distribution of a wait, mixed of what different stretches of a load make arrivals wait.

use super::chain::Tail;

/// A backlog that grows or drains from one wait to the other, each between them as likely, and the
/// queue that comes and goes on top of it.
#[derive(Debug, Clone, Copy)]
struct Part {
    least: f64,
    most: f64,
    tail: Tail,
    /// What the tail's time is stretched by.
    factor: f64,
}

/// Parts and their weights.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits {
    parts: Vec<(f64, Part)>,
    weight: f64,
}

impl Waits {
    /// Of a queue without a backlog.
    pub(super) fn steady(&mut self, weight: f64, tail: Tail, factor: f64) {
        self.behind(weight, (0.0, 0.0), tail, factor);
    }

    pub(super) fn behind(&mut self, weight: f64, backlog: (f64, f64), tail: Tail, factor: f64) {
        let part = Part {
            least: backlog.0.min(backlog.1),
            most: backlog.0.max(backlog.1),
            tail,
            factor,
        };
        self.push(weight, part);
    }

    fn push(&mut self, weight: f64, part: Part) {
        if weight > 0.0 {
            self.weight += weight;
            self.parts.push((weight, part));
        }
    }

    /// The share of arrivals that wait for longer.
    pub(super) fn exceeding(&self, t: f64) -> f64 {
        if self.parts.is_empty() {
            return 0.0;
        }
        let sum: f64 = self
            .parts
            .iter()
            .map(|(weight, part)| weight * part.exceeding(t))
            .sum();
        (sum / self.weight).clamp(0.0, 1.0)
    }

    pub(super) fn mean(&self) -> f64 {
        if self.parts.is_empty() {
            return 0.0;
        }
        let sum: f64 = self.parts.iter().map(|(w, part)| w * part.mean()).sum();
        (sum / self.weight).max(0.0)
    }

    /// The wait that a share `q` of all arrivals do not exceed.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        quantile(q, self.mean(), |t| self.exceeding(t))
    }
}

/// What a share `q` does not exceed, of what has this mean.
pub(super) fn quantile(q: f64, mean: f64, exceeding: impl Fn(f64) -> f64) -> f64 {
    let allowed = 1.0 - q;
    if exceeding(0.0) <= allowed {
        return 0.0;
    }
    let mut most = mean.max(1e-9);
    while exceeding(most) > allowed {
        most *= 2.0;
        if !most.is_finite() {
            return f64::INFINITY;
        }
    }
    let mut least = 0.0;
    for _ in 0..60 {
        let middle = f64::midpoint(least, most);
        if exceeding(middle) > allowed {
            least = middle;
        } else {
            most = middle;
        }
    }
    most
}

impl Part {
    fn exceeding(&self, t: f64) -> f64 {
        let width = self.most - self.least;
        if t < self.least {
            return 1.0;
        }
        let sum = |of: &dyn Fn(f64) -> f64| -> f64 {
            let parts = self.tail.parts.iter();
            parts
                .map(|(share, rate)| share * of(rate / self.factor))
                .sum()
        };
        if width <= 0.0 {
            return sum(&|rate| (-rate * (t - self.least)).exp());
        }
        // The tail's mean over all backlogs, those longer than `t` count in full.
        let past = (t - self.most).max(0.0);
        let reached = (t.min(self.most) - self.least) / width;
        let tail = sum(&|rate| {
            let across = rate * reached * width;
            let mean = if across > 1e-9 {
                -(-across).exp_m1() / across
            } else {
                1.0
            };
            (-rate * past).exp() * mean
        });
        (1.0 - reached) + reached * tail
    }

    fn mean(&self) -> f64 {
        let tail: f64 = self
            .tail
            .parts
            .iter()
            .map(|(share, rate)| share / rate)
            .sum();
        f64::midpoint(self.least, self.most) + tail * self.factor
    }
}
