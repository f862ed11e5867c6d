//! The raw data of a run, for those who want to look closer: a CSV file for each.

use std::fs::{File, create_dir_all};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::machine::Machine;
use super::run::Record;

/// Where the files go.
#[derive(Debug, Clone)]
pub(crate) struct Raw(PathBuf);

/// What the file of a run is called by, and its first line says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header<'a> {
    pub(crate) kind: &'a str,
    pub(crate) load: &'a str,
    pub(crate) sweep: u32,
    pub(crate) round: u32,
    pub(crate) connections: u32,
    pub(crate) seed: u64,
    pub(crate) rate: f64,
    pub(crate) seconds: f64,
    pub(crate) machine: Machine,
}

impl Raw {
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        create_dir_all(folder)?;
        Ok(Self(folder.to_owned()))
    }

    pub(crate) fn run(&self, header: Header<'_>, records: &[Record]) -> io::Result<()> {
        let Machine { busy, stolen } = header.machine;
        let mut file = BufWriter::new(File::create(self.path(header, "csv"))?);
        writeln!(
            file,
            "# kind={} load={} sweep={} round={} connections={} seed={} rate={:.3} seconds={} busy_pct={busy:.1} \
             stolen_pct={stolen:.1}",
            header.kind,
            header.load,
            header.sweep,
            header.round,
            header.connections,
            header.seed,
            header.rate,
            header.seconds,
        )?;
        writeln!(
            file,
            "arrival_us,queued_us,held_us,queries_us,due_us,served"
        )?;
        for record in records {
            writeln!(
                file,
                "{},{},{},{},{},{}",
                record.asked.as_micros(),
                record.queued.as_micros(),
                record.held.as_micros(),
                record.queries.as_micros(),
                record.due.as_micros(),
                u8::from(record.served),
            )?;
        }
        file.flush()
    }

    /// What `optimize` said after an observation.
    pub(crate) fn advice(&self, header: Header<'_>, said: &serde_json::Value) -> io::Result<()> {
        std::fs::write(self.path(header, "json"), format!("{said:#}\n"))
    }

    fn path(&self, header: Header<'_>, extension: &str) -> PathBuf {
        let Header {
            kind,
            load,
            sweep,
            round,
            connections,
            ..
        } = header;
        self.0.join(format!(
            "{load}-{sweep}.{round}-{kind}-{connections:02}.{extension}"
        ))
    }
}
