//! The call site whose holds a checkout has waited for most.

use std::fmt;

/// The call site whose holds a checkout has waited for most.
///
/// Whenever checkouts queue, each connection that is out has an equal share of their time.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct MostBlamed {
    /// Its route, source line and label: `/report at src/report.rs:33 (nightly)`.
    pub call_site: String,
    /// The share (0 to 1) of the time queued that its holds owe.
    pub share: f64,
    /// The part (0 to 1) of this share in which the database did nothing for these holds, in proportion
    /// to the time that each was idle; `None` if that is not measured.
    pub idle_share: Option<f64>,
}

/// As in `61 % of the waiting was behind /report at src/report.rs:33, 48 % of it while its connection was idle`.
impl fmt::Display for MostBlamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} % of the waiting was behind {}",
            self.share * 100.0,
            self.call_site
        )?;
        match self.idle_share {
            Some(idle) => write!(
                f,
                ", {:.0} % of it while its connection was idle",
                idle * 100.0
            ),
            None => Ok(()),
        }
    }
}
