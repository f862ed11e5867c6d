//! The command line of the trial.

use std::path::PathBuf;

use super::demand::{Demand, Rate};
use super::loads::{BY_DEFAULT, LOADS, Load};
use super::raw::Raw;

/// The loads to run, and how often and how long.
pub(crate) struct Arguments {
    pub(crate) loads: Vec<&'static Load>,
    pub(crate) sweeps: u32,
    /// A smoke test.
    quick: bool,
    /// How long each size runs.
    seconds: f64,
    /// Runs nothing in parallel.
    in_turn: bool,
    pub(crate) raw: Option<Raw>,
}

impl Arguments {
    pub(crate) fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            loads: Vec::new(),
            sweeps: 0,
            quick: false,
            seconds: 60.0,
            in_turn: false,
            raw: None,
        };
        while let Some(option) = args.next() {
            let mut value = || args.next().ok_or(format!("{option}: expected a value"));
            match option.as_str() {
                "--quick" => parsed.quick = true,
                "--in-turn" => parsed.in_turn = true,
                "--load" => {
                    let name = value()?;
                    let load = LOADS.iter().find(|load| load.name == name);
                    parsed.loads.push(load.ok_or_else(|| {
                        let names: Vec<_> = LOADS.iter().map(|load| load.name).collect();
                        format!("no load {name}; the loads are {}", names.join(", "))
                    })?);
                }
                "--repeat" => {
                    let times = value()?.parse().ok().filter(|times| *times > 0);
                    parsed.sweeps = times.ok_or("--repeat: expected a whole number from 1")?;
                }
                "--seconds" => {
                    let seconds = value()?.parse().ok();
                    parsed.seconds = seconds
                        .filter(|seconds| (1.0..=3600.0).contains(seconds))
                        .ok_or("--seconds: expected a number from 1 to 3600")?;
                }
                "--raw" => {
                    let folder = PathBuf::from(value()?);
                    parsed.raw = Some(Raw::new(&folder).map_err(|error| error.to_string())?);
                }
                _ => return Err(format!("unknown option {option}")),
            }
        }
        if parsed.loads.is_empty() {
            parsed.loads = LOADS.iter().take(BY_DEFAULT).collect();
        }
        if parsed.sweeps == 0 {
            parsed.sweeps = if parsed.quick { 1 } else { 2 };
        }
        Ok(parsed)
    }

    /// The rounds of a load.
    pub(crate) fn rounds(&self, load: &Load) -> u32 {
        if self.quick { 1 } else { load.rounds }
    }

    /// The number of concurrent runs of a load.
    pub(crate) fn at_once(&self, load: &Load) -> usize {
        if self.in_turn { 1 } else { load.at_once }
    }

    /// The number of concurrent loads. With more than one, the processors are too busy for meaningful
    /// figures.
    pub(crate) fn loads_at_once(&self) -> usize {
        if self.quick { 3 } else { 1 }
    }

    pub(crate) fn sizes(&self, load: &Load) -> &'static [u32] {
        let skipped = if self.quick { load.sizes.len() - 2 } else { 0 };
        &load.sizes[skipped..]
    }

    /// How long a load is observed in one round: 90 s in all, or with `--quick` the minimum for advice. In
    /// production it is the busiest five minutes.
    pub(crate) fn observing(&self, load: &Load) -> f64 {
        let all = if self.quick { 0.0 } else { 90.0 };
        (all / f64::from(self.rounds(load))).max(21.0)
    }

    /// How long each size runs in one round.
    pub(crate) fn trying(&self, load: &Load) -> f64 {
        let all = if self.quick { 1.5 } else { self.seconds };
        all / f64::from(self.rounds(load))
    }

    /// How long the machine's capacity is measured.
    pub(crate) fn measuring_capacity(&self) -> f64 {
        if self.quick {
            1.5
        } else {
            self.seconds.min(4.0)
        }
    }

    /// The approximate total time in seconds.
    pub(crate) fn expected(&self) -> f64 {
        let loads = self.loads.iter().map(|load| self.expected_of(load));
        loads.sum::<f64>() / self.loads_at_once().min(self.loads.len()) as f64
    }

    fn expected_of(&self, load: &Load) -> f64 {
        // Opening and closing pools, and calculating advice.
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

    fn parse(options: &str) -> Arguments {
        Arguments::read(options.split_whitespace().map(str::to_owned))
            .unwrap_or_else(|it| panic!("{it}"))
    }

    #[test]
    fn a_full_run_takes_most_of_an_hour_and_a_quick_one_less_than_three_minutes() {
        let usual = parse("");
        assert_eq!(usual.loads.len(), BY_DEFAULT);
        let minutes = usual.expected() / 60.0;
        assert!((30.0..45.0).contains(&minutes), "{minutes}");
        let quick = parse("--quick").expected() / 60.0;
        assert!(quick < 2.0, "{quick}");
        let one = parse("--quick --load closed").expected();
        assert!(one > 21.0, "{one}");
    }

    #[test]
    fn sizes_in_turn_add_their_times() {
        let side_by_side = parse("--load heavy-tailed --repeat 1").expected();
        let in_turn = parse("--load heavy-tailed --repeat 1 --in-turn").expected();
        assert!(side_by_side < 95.0, "{side_by_side}");
        assert!(in_turn > 90.0 + 7.0 * 60.0, "{in_turn}");
    }

    #[test]
    fn invalid_options_are_refused() {
        for options in [
            "--fast",
            "--load none",
            "--load",
            "--repeat 0",
            "--seconds 0.5",
        ] {
            let options = options.split_whitespace().map(str::to_owned);
            assert!(Arguments::read(options).is_err());
        }
    }
}
