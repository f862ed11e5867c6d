//! The distribution of a wait, mixed of what different stretches of a load make arrivals wait.

use super::chain::Tail;

#[derive(Debug, Clone, Copy)]
enum Part {
    /// Of a queue that comes and goes; the factor stretches its time.
    Steady(Tail, f64),
    /// Of a backlog that grows or drains: any wait between the two is as likely.
    Backlog(f64, f64),
}

/// Parts and their weights.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits {
    parts: Vec<(f64, Part)>,
    weight: f64,
}

impl Waits {
    pub(super) fn steady(&mut self, weight: f64, tail: Tail, factor: f64) {
        self.push(weight, Part::Steady(tail, factor));
    }

    pub(super) fn backlog(&mut self, weight: f64, one: f64, other: f64) {
        self.push(weight, Part::Backlog(one.min(other), one.max(other)));
    }

    fn push(&mut self, weight: f64, part: Part) {
        if weight > 0.0 {
            self.weight += weight;
            self.parts.push((weight, part));
        }
    }

    /// The share of arrivals that wait for longer.
    pub(super) fn exceeding(&self, t: f64) -> f64 {
        let sum: f64 = self
            .parts
            .iter()
            .map(|(weight, part)| weight * part.exceeding(t))
            .sum();
        (sum / self.weight).clamp(0.0, 1.0)
    }

    pub(super) fn mean(&self) -> f64 {
        let sum: f64 = self.parts.iter().map(|(w, part)| w * part.mean()).sum();
        (sum / self.weight).max(0.0)
    }

    /// The wait that a share `q` of all arrivals do not exceed.
    pub(super) fn quantile(&self, q: f64) -> f64 {
        let allowed = 1.0 - q;
        if self.exceeding(0.0) <= allowed {
            return 0.0;
        }
        let mut most = self.mean().max(1e-9);
        while self.exceeding(most) > allowed {
            most *= 2.0;
            if !most.is_finite() {
                return f64::INFINITY;
            }
        }
        let mut least = 0.0;
        for _ in 0..60 {
            let middle = f64::midpoint(least, most);
            if self.exceeding(middle) > allowed {
                least = middle;
            } else {
                most = middle;
            }
        }
        most
    }
}

impl Part {
    fn exceeding(&self, t: f64) -> f64 {
        match self {
            Self::Steady(tail, factor) => tail
                .parts
                .iter()
                .map(|(share, rate)| share * (-rate * t / factor).exp())
                .sum(),
            Self::Backlog(least, most) if t < *least || most <= least => {
                f64::from(u8::from(t < *least || t < *most))
            }
            Self::Backlog(least, most) => ((most - t) / (most - least)).clamp(0.0, 1.0),
        }
    }

    fn mean(&self) -> f64 {
        match self {
            Self::Steady(tail, factor) => {
                let sum: f64 = tail.parts.iter().map(|(share, rate)| share / rate).sum();
                sum * factor
            }
            Self::Backlog(least, most) => f64::midpoint(*least, *most),
        }
    }
}
