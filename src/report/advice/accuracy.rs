//! How good earlier predictions were.

use serde::Serialize;

/// Errors beyond this are said, in percent.
const LARGE: f64 = 50.0;

/// How far earlier predictions were from what was then measured at the size in force.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Accuracy {
    /// Predictions that were compared.
    pub compared: u64,
    /// The median of their errors, in percent of what was measured.
    pub median_error_pct: Option<f64>,
}

impl Accuracy {
    /// What to say of it, if that is little good.
    pub(super) fn warning(&self) -> Option<String> {
        let error = self.median_error_pct.filter(|error| *error > LARGE)?;
        Some(format!(
            "Take it with care: half of the last {} predictions were off by more than {error:.0} %.",
            self.compared,
        ))
    }
}
