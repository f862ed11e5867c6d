//! What the trial was asked for, on the command line.

use std::path::PathBuf;

use super::demand::{Demand, Rate};
use super::loads::{LOADS, Load, USUAL};
use super::raw::Raw;

/// The loads to try, how often and for how long.
pub(crate) struct Asked {
    pub(crate) loads: Vec<&'static Load>,
    pub(crate) sweeps: u32,
    /// Only to see that it all runs.
    quick: bool,
    /// How long each size is tried.
    seconds: f64,
    /// Nothing side by side.
    in_turn: bool,
    pub(crate) raw: Option<Raw>,
}

impl Asked {
    pub(crate) fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut asked = Self {
            loads: Vec::new(),
            sweeps: 0,
            quick: false,
            seconds: 60.0,
            in_turn: false,
            raw: None,
        };
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{option}: which?"));
            match option.as_str() {
                "--quick" => asked.quick = true,
                "--in-turn" => asked.in_turn = true,
                "--load" => {
                    let name = value()?;
                    let load = LOADS.iter().find(|load| load.name == name);
                    asked.loads.push(load.ok_or_else(|| {
                        let names: Vec<_> = LOADS.iter().map(|load| load.name).collect();
                        format!("no load {name}; there are {}", names.join(", "))
                    })?);
                }
                "--repeat" => {
                    let times = value()?.parse().ok().filter(|times| *times > 0);
                    asked.sweeps = times.ok_or("--repeat: a whole number from 1")?;
                }
                "--seconds" => {
                    let seconds = value()?.parse().ok();
                    asked.seconds = seconds
                        .filter(|seconds| (1.0..=3600.0).contains(seconds))
                        .ok_or("--seconds: a number from 1 to 3600")?;
                }
                "--raw" => {
                    let folder = PathBuf::from(value()?);
                    asked.raw = Some(Raw::new(&folder).map_err(|error| error.to_string())?);
                }
                _ => return Err(format!("unknown option {option}")),
            }
        }
        if asked.loads.is_empty() {
            asked.loads = LOADS.iter().take(USUAL).collect();
        }
        if asked.sweeps == 0 {
            asked.sweeps = if asked.quick { 1 } else { 2 };
        }
        Ok(asked)
    }

    /// The rounds of a load.
    pub(crate) fn rounds(&self, load: &Load) -> u32 {
        if self.quick { 1 } else { load.rounds }
    }

    /// How many runs of a load there are at the same time.
    pub(crate) fn at_once(&self, load: &Load) -> usize {
        if self.in_turn { 1 } else { load.at_once }
    }

    /// How many loads are tried at the same time. The processors are then too busy for figures that
    /// mean anything.
    pub(crate) fn loads_at_once(&self) -> usize {
        if self.quick { 3 } else { 1 }
    }

    pub(crate) fn sizes(&self, load: &Load) -> &'static [u32] {
        let skipped = if self.quick { load.sizes.len() - 2 } else { 0 };
        &load.sizes[skipped..]
    }

    /// How long a load is observed in one round: for a minute and a half in all, or in a hurry for as
    /// long as an advice needs. In production it is the busiest five minutes.
    pub(crate) fn observing(&self, load: &Load) -> f64 {
        let all = if self.quick { 0.0 } else { 90.0 };
        (all / f64::from(self.rounds(load))).max(21.0)
    }

    /// How long each size is tried in one round.
    pub(crate) fn trying(&self, load: &Load) -> f64 {
        let all = if self.quick { 1.5 } else { self.seconds };
        all / f64::from(self.rounds(load))
    }

    /// How long it is found out what the machine can serve.
    pub(crate) fn measuring_capacity(&self) -> f64 {
        if self.quick {
            1.5
        } else {
            self.seconds.min(4.0)
        }
    }

    /// How long all of it takes, about, in seconds.
    pub(crate) fn expected(&self) -> f64 {
        let loads = self.loads.iter().map(|load| self.expected_of(load));
        loads.sum::<f64>() / self.loads_at_once().min(self.loads.len()) as f64
    }

    fn expected_of(&self, load: &Load) -> f64 {
        // Pools to open and to close, advice to be given.
        const BETWEEN: f64 = 1.5;
        let tried = vec![self.trying(load); self.sizes(load).len()];
        let runs = [vec![self.observing(load)], tried].concat();
        let together = runs.chunks(self.at_once(load).min(runs.len()));
        let round: f64 = together
            .map(|runs| runs.iter().copied().fold(0.0, f64::max) + BETWEEN)
            .sum();
        let capacity = match load.demand {
            Demand::Open {
                rate: Rate::OfCapacity { .. },
                ..
            } => self.measuring_capacity(),
            _ => 0.0,
        };
        capacity + f64::from(self.sweeps * self.rounds(load)) * round
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(options: &str) -> Asked {
        Asked::read(options.split_whitespace().map(str::to_owned))
            .unwrap_or_else(|it| panic!("{it}"))
    }

    #[test]
    fn all_loads_take_most_of_an_hour_and_in_a_hurry_less_than_three_minutes() {
        let usual = asked("");
        assert_eq!(usual.loads.len(), USUAL);
        let minutes = usual.expected() / 60.0;
        assert!((30.0..45.0).contains(&minutes), "{minutes}");
        let quick = asked("--quick").expected() / 60.0;
        assert!(quick < 2.0, "{quick}");
        let one = asked("--quick --load closed").expected();
        assert!(one > 21.0, "{one}");
    }

    #[test]
    fn in_turn_each_size_adds_its_time() {
        let side_by_side = asked("--load heavy-tailed --repeat 1").expected();
        let in_turn = asked("--load heavy-tailed --repeat 1 --in-turn").expected();
        assert!(side_by_side < 95.0, "{side_by_side}");
        assert!(in_turn > 90.0 + 7.0 * 60.0, "{in_turn}");
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for options in [
            "--fast",
            "--load none",
            "--load",
            "--repeat 0",
            "--seconds 0.5",
        ] {
            let options = options.split_whitespace().map(str::to_owned);
            assert!(Asked::read(options).is_err());
        }
    }
}
