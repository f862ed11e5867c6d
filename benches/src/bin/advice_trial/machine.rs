//! The load of the machine, which must be low for a meaningful measurement.

use std::fmt;

/// The processor time in use, in percent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) busy: f64,
    /// Taken by other machines on the same hardware.
    pub(crate) stolen: f64,
}

/// The time of all processors since the machine started, in ticks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ticks {
    idle: f64,
    stolen: f64,
    all: f64,
}

impl Machine {
    pub(crate) fn now() -> Ticks {
        Ticks::read().unwrap_or_default()
    }
}

impl Ticks {
    /// `None` without `/proc`.
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/stat").ok()?;
        let line = text.lines().next()?;
        // user, nice, system, idle, iowait, irq, softirq, steal; user includes guest time.
        let ticks: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        Some(Self {
            idle: ticks.get(3)? + ticks.get(4)?,
            stolen: *ticks.get(7)?,
            all: ticks.iter().sum(),
        })
    }

    pub(crate) fn since(self) -> Machine {
        let now = Machine::now();
        let percent = |ticks: f64| 100.0 * ticks / (now.all - self.all).max(1.0);
        let stolen = percent(now.stolen - self.stolen);
        Machine {
            busy: 100.0 - stolen - percent(now.idle - self.idle),
            stolen,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "processors {:.0} % busy", self.busy)?;
        if self.stolen >= 1.0 {
            write!(f, ", {:.0} % taken by other machines", self.stolen)?;
        }
        Ok(())
    }
}
