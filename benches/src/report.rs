//! Prints results as Markdown tables on stdout.

use std::fmt::Display;
use std::time::Duration;

/// Prints a table under a heading.
pub fn table(heading: &str, columns: &[&str], rows: &[Vec<String>]) {
    println!("\n### {heading}\n");
    println!("| {} |", columns.join(" | "));
    println!("|{}", "---|".repeat(columns.len()));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

/// Targets, and the measured values.
#[derive(Debug, Default)]
pub struct Targets(Vec<Vec<String>>);

impl Targets {
    pub fn add(
        &mut self,
        what: impl Display,
        target: impl Display,
        measured: impl Display,
        met: bool,
    ) {
        let verdict = if met { "met" } else { "**missed**" };
        self.0.push(vec![
            what.to_string(),
            target.to_string(),
            measured.to_string(),
            verdict.to_owned(),
        ]);
    }

    pub fn print(&self, heading: &str) {
        table(heading, &["what", "target", "measured", ""], &self.0);
    }
}

/// A paragraph below a table.
pub fn note(text: impl Display) {
    println!("\n{text}");
}

/// Reports progress on stderr.
pub fn progress(text: impl Display) {
    eprintln!("  {text}");
}

pub fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ms if ms < 0.1 => format!("{ms:.3} ms"),
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.0} ms"),
    }
}

pub fn ns(time: f64) -> String {
    format!("{time:.0} ns")
}

pub fn times(ratio: f64) -> String {
    format!("{ratio:.2}x")
}

pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
