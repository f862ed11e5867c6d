//! The raw data, for a closer look or for other predictions from the same observations: the checkouts of
//! each run as CSV, and each sweep as JSON.

use std::fmt;
use std::fs::{File, create_dir_all};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::demand::Demand;
use super::machine::Machine;
use super::run::Record;

const COLUMNS: &str = "asked_us,granted_us,returned_us,busy_us,first_query_begun_us,last_query_ended_us,\
                       place,size,queued,due_us";

/// The folder of the files.
#[derive(Debug, Clone)]
pub(crate) struct Raw(PathBuf);

/// The identity of a run, in its file name and its first line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) kind: &'static str,
    pub(crate) load: &'static str,
    pub(crate) sweep: u32,
    pub(crate) round: u32,
    pub(crate) connections: u32,
    pub(crate) seed: u64,
    pub(crate) demand: Demand<f64>,
    pub(crate) seconds: f64,
    pub(crate) machine: Machine,
}

impl Raw {
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        create_dir_all(folder)?;
        Ok(Self(folder.to_owned()))
    }

    /// Writes all checkouts of a run, ordered by their start.
    pub(crate) fn checkouts(&self, header: Header, records: &[Record]) -> io::Result<()> {
        let path = self.0.join(format!("{}.csv", header.name()));
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "# {header}\n{COLUMNS}")?;
        let mut records: Vec<_> = records.iter().collect();
        records.sort_by_key(|record| record.asked);
        for record in records {
            writeln!(file, "{}", line(record, header.connections))?;
        }
        file.flush()
    }

    pub(crate) fn json(&self, name: &str, value: &Value) -> io::Result<()> {
        std::fs::write(self.0.join(format!("{name}.json")), format!("{value:#}\n"))
    }
}

/// A field is empty if the checkout timed out.
fn line(record: &Record, size: u32) -> String {
    let us = |time: Duration| time.as_micros().to_string();
    let hold = record.hold.as_ref();
    let of_hold = |time: Option<Duration>| time.map_or(String::new(), us);
    [
        us(record.asked),
        of_hold(hold.map(|_| record.answered)),
        of_hold(hold.map(|hold| hold.returned)),
        of_hold(hold.map(|hold| hold.busy)),
        of_hold(hold.map(|hold| hold.first_query_begun)),
        of_hold(hold.map(|hold| hold.last_query_ended)),
        (record.route as u8).to_string(),
        size.to_string(),
        u8::from(record.queued).to_string(),
        us(record.due),
    ]
    .join(",")
}

impl Header {
    /// The name of its files.
    pub(crate) fn name(&self) -> String {
        let Self {
            kind,
            load,
            sweep,
            round,
            connections,
            ..
        } = self;
        format!("{load}-{sweep}.{round}-{kind}-{connections:02}")
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kind={} load={} sweep={} round={} connections={} seed={} seconds={}",
            self.kind, self.load, self.sweep, self.round, self.connections, self.seed, self.seconds,
        )?;
        match self.demand {
            Demand::Open { rate, .. } => write!(f, " rate={rate:.3}")?,
            Demand::Closed(clients) => {
                write!(f, " clients={} think_ms={}", clients.number, clients.think)?;
            }
        }
        let Machine { busy, stolen } = self.machine;
        write!(f, " busy_pct={busy:.1} stolen_pct={stolen:.1}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Hold;
    use crate::work::Route;

    #[test]
    fn a_line_matches_the_columns() {
        let us = Duration::from_micros;
        let mut record = Record {
            due: us(1),
            asked: us(2),
            answered: us(3),
            queued: true,
            route: Route::Second,
            hold: Some(Hold {
                first_query_begun: us(4),
                last_query_ended: us(7),
                busy: us(2),
                returned: us(8),
            }),
        };
        assert_eq!(line(&record, 12), "2,3,8,2,4,7,1,12,1,1");
        record.hold = None;
        assert_eq!(line(&record, 12), "2,,,,,,1,12,1,1");
        assert_eq!(COLUMNS.split(',').count(), 10);
    }
}
