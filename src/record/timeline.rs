//! What the page draws of the last hour, in samples of five seconds.

use std::collections::VecDeque;

use crate::record::clock::{MINUTE, nanos};
pub(crate) use crate::record::hour::LENGTH;
use crate::record::interval::Interval;
use crate::record::inventory::Counts;
use crate::record::traffic::{GaugeValues, Traffic};

/// Number of samples kept, which is one hour.
const KEPT: u64 = 60 * MINUTE / LENGTH;
/// Stands for an unknown number.
const UNKNOWN: f32 = f32::INFINITY;

/// Five seconds of a pool. The numbers of connections and of waiting checkouts are means over its time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) in_use: f32,
    /// See [`work`](Self::work).
    querying: f32,
    idle_in_transaction: f32,
    pub(crate) pending: f32,
    pub(crate) pending_peak: u32,
    /// Checkouts requested, and those that timed out.
    pub(crate) arrivals: u32,
    pub(crate) timeouts: u32,
    /// The 95th percentile of the waits, in seconds.
    wait_p95: f32,
    pub(crate) size: Size,
}

/// How many connections the pool may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) pool_size: u16,
    pub(crate) max_connections: u16,
}

impl Size {
    pub(crate) fn of(counts: Counts) -> Self {
        let short = |count| u16::try_from(count).unwrap_or(u16::MAX);
        Self {
            pool_size: short(counts.pool_size),
            max_connections: short(counts.max_connections()),
        }
    }
}

/// What the connections in use did, as a mean over a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Work {
    /// Connections with a query running.
    pub(crate) querying: f32,
    /// Connections with a transaction open and no query running. How many had no query running is exact; how
    /// many of these had a transaction open is known of the end of the sample.
    pub(crate) idle_in_transaction: f32,
}

impl Sample {
    /// Returns a sample whose work is not known yet.
    fn of(traffic: &Traffic, wait_p95: Option<f32>, size: Size) -> Self {
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            in_use: mean(traffic.checked_out_time),
            querying: UNKNOWN,
            idle_in_transaction: UNKNOWN,
            pending: mean(traffic.pending_time),
            pending_peak: traffic.peak.pending,
            arrivals: count(traffic.arrivals),
            timeouts: count(traffic.timeouts),
            wait_p95: wait_p95.unwrap_or(UNKNOWN),
            size,
        }
    }

    /// Returns what the connections in use did; `None` if the queries of some hold were not observed.
    pub(crate) fn work(&self) -> Option<Work> {
        (self.querying != UNKNOWN).then_some(Work {
            querying: self.querying,
            idle_in_transaction: self.idle_in_transaction,
        })
    }

    /// Returns the 95th percentile of the waits, in seconds; `None` if no checkout got a connection.
    pub(crate) fn wait_p95(&self) -> Option<f32> {
        Some(self.wait_p95).filter(|p95| *p95 != UNKNOWN)
    }

    /// Sets the work: the time with a query running, and how many of the holders without one have a
    /// transaction open.
    fn worked(mut self, querying: u64, holders: AtWork) -> Self {
        // A hold that began before the sample may have returned its work within it.
        self.querying = mean(querying).min(self.in_use);
        let idle = self.in_use - self.querying;
        self.idle_in_transaction = match holders.idle {
            0 => 0.0,
            all => idle * holders.idle_in_transaction as f32 / all as f32,
        };
        self
    }
}

/// Returns the mean over a sample of a value that was integrated over it.
fn mean(integral: u64) -> f32 {
    (integral as f64 / LENGTH as f64) as f32
}

/// The current holders, as a sample ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AtWork {
    /// How long the database has worked for all of them; `None` if some are not observed.
    pub(crate) busy: Option<u64>,
    /// How many have no query running, and how many of these have a transaction open.
    pub(crate) idle: u32,
    pub(crate) idle_in_transaction: u32,
}

/// The samples of the last hour. Equal ones that follow each other, as of an idle pool, are stored once.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// The size of the pool in the sample that has not ended.
    pub(super) size: Size,
    /// Samples with how many times each occurs, the newest last.
    runs: VecDeque<(Sample, u16)>,
    /// Number of samples kept.
    kept: u64,
    /// Number of samples since the start.
    ended: u64,
    /// Number of the last samples that have no [`Work`] yet.
    open: u64,
    /// When the samples were last completed.
    settled: u64,
    /// How long the database had worked for the holders of that time, …
    held_busy: u64,
    /// … has worked for the holds that were returned since; `None` if that is unknown of one, …
    returned_busy: Option<u64>,
    /// … and worked in the part of the next sample before that time.
    carried: u64,
}

/// The samples as they are read.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// Number of samples since the start before the first.
    pub(crate) first: u64,
    /// When the last one ended.
    pub(crate) end: u64,
    /// The newest last.
    pub(crate) samples: Vec<Sample>,
}

impl Timeline {
    pub(super) fn new(size: Size) -> Self {
        Self {
            size,
            runs: VecDeque::new(),
            kept: 0,
            ended: 0,
            open: 0,
            settled: 0,
            held_busy: 0,
            returned_busy: Some(0),
            carried: 0,
        }
    }

    /// Adds the data of a sample that has ended.
    pub(super) fn push(&mut self, interval: &Interval) {
        let p95 = interval.wait.quantile(0.95);
        let p95 = p95.map(|p95| (nanos(p95) as f64 / 1e9) as f32);
        let sample = Sample::of(&interval.traffic, p95, self.size);
        self.end(sample, 1);
    }

    /// Adds samples of a time without an event.
    pub(super) fn pass(&mut self, samples: u64, level: GaugeValues) {
        let mut traffic = Traffic::default();
        traffic.elapse(LENGTH, level);
        self.end(Sample::of(&traffic, None, self.size), samples);
    }

    fn end(&mut self, sample: Sample, times: u64) {
        self.add(sample, times);
        self.ended += times;
        self.open = (self.open + times).min(self.kept);
    }

    /// Adds a hold that was returned, and how long the database has worked during it.
    pub(super) fn returned(&mut self, busy: Option<u64>) {
        self.returned_busy = self.returned_busy.zip(busy).map(|(sum, busy)| sum + busy);
    }

    /// Returns whether samples wait for [`settle`](Self::settle).
    pub(super) fn is_open(&self) -> bool {
        self.open > 0
    }

    /// Adds the work to the samples that have none, from what the database has worked since this was last
    /// done. The holders are those of `now`.
    pub(super) fn settle(&mut self, now: u64, holders: AtWork) {
        if self.open == 0 {
            return;
        }
        let since = std::mem::replace(&mut self.settled, now);
        let before = std::mem::replace(&mut self.held_busy, holders.busy.unwrap_or_default());
        let carried = std::mem::take(&mut self.carried);
        let returned = self.returned_busy.replace(0);
        let opened = self.take_open();
        let Some((returned, held)) = returned.zip(holders.busy) else {
            opened
                .into_iter()
                .for_each(|(it, times)| self.add(it, times));
            return;
        };
        // Evenly over the time: usually there is one sample, and little time has passed since it ended.
        let worked = (returned + held).saturating_sub(before);
        let within = |time: u64| part(worked, time, now.saturating_sub(since));
        let end = self.ended * LENGTH;
        let number: u64 = opened.iter().map(|(_, times)| times).sum();
        let first_end = end - (number.max(1) - 1) * LENGTH;
        let mut first = Some(carried + within(first_end.saturating_sub(since).min(LENGTH)));
        for (sample, mut times) in opened {
            if let Some(querying) = first.take() {
                self.add(sample.worked(querying, holders), 1);
                times -= 1;
            }
            self.add(sample.worked(within(LENGTH), holders), times);
        }
        self.carried = within(now.saturating_sub(end));
    }

    /// Removes and returns the samples that have no work yet, the newest last.
    fn take_open(&mut self) -> Vec<(Sample, u64)> {
        let mut opened = Vec::new();
        while self.open > 0
            && let Some((sample, times)) = self.runs.pop_back()
        {
            let times = u64::from(times);
            let taken = times.min(self.open);
            opened.push((sample, taken));
            self.open -= taken;
            self.kept -= times;
            self.add(sample, times - taken);
        }
        opened.reverse();
        opened
    }

    fn add(&mut self, sample: Sample, times: u64) {
        if times == 0 {
            return;
        }
        let times = times.min(KEPT);
        let over = (self.kept + times).saturating_sub(KEPT);
        self.forget(over);
        match self.runs.back_mut() {
            Some((last, number)) if *last == sample => *number += times as u16,
            _ => self.runs.push_back((sample, times as u16)),
        }
        self.kept += times;
    }

    /// Removes the oldest samples.
    fn forget(&mut self, mut number: u64) {
        while number > 0
            && let Some((_, times)) = self.runs.front_mut()
        {
            let less = number.min(u64::from(*times));
            *times -= less as u16;
            self.kept -= less;
            number -= less;
            if *times == 0 {
                self.runs.pop_front();
            }
        }
    }

    /// Returns the last samples, at most `most`.
    pub(super) fn read(&self, most: usize) -> Samples {
        let all = self.runs.iter().rev();
        let all = all.flat_map(|(sample, times)| std::iter::repeat_n(*sample, usize::from(*times)));
        let mut samples: Vec<_> = all.take(most).collect();
        samples.reverse();
        Samples {
            first: self.ended - samples.len() as u64,
            end: self.ended * LENGTH,
            samples,
        }
    }
}

/// Returns the part of `whole` that `number` is of `of`; 0 if `of` is 0.
fn part(whole: u64, number: u64, of: u64) -> u64 {
    match of {
        0 => 0,
        of => (u128::from(whole) * u128::from(number.min(of)) / u128::from(of)) as u64,
    }
}

#[cfg(test)]
mod tests;
