//! What is wrong with the pool, in one sentence.

use serde::Serialize;

use crate::record::inventory::Availability;
use crate::report::health::Health;
use crate::report::timings::{lasting, round};
use crate::report::warnings::{Finding, Severity};

/// What is wrong, and the first thing to do; or that nothing is wrong, with figures.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) severity: Severity,
    pub(crate) sentence: String,
    pub(crate) action: Option<String>,
}

impl Verdict {
    /// Returns the verdict by the first of the most serious findings. Removes that finding if the verdict has
    /// all of its text.
    pub(super) fn take(health: &Health, findings: &mut Vec<Finding>) -> Self {
        let worst = findings.iter().map(|it| it.severity).max();
        let Some(first) = findings.iter().position(|it| Some(it.severity) == worst) else {
            return Self {
                severity: Severity::Ok,
                sentence: nothing(health),
                action: None,
            };
        };
        if let Some(reason) = cannot_serve(health) {
            findings.remove(first);
            // The next finding says what leads to it.
            let next = findings.first().map(|next| next.recommendation.clone());
            return Self {
                severity: Severity::Critical,
                sentence: sentence(&reason),
                action: match health.database.reachable {
                    true => next,
                    false => Some(UNREACHABLE.to_owned()),
                },
            };
        }
        let finding = match findings[first].headline {
            Some(_) => findings[first].clone(),
            None => findings.remove(first),
        };
        Self {
            severity: finding.severity,
            sentence: sentence(finding.headline.as_ref().unwrap_or(&finding.warning)),
            action: Some(finding.recommendation),
        }
    }
}

/// What to do if the database can't be reached.
const UNREACHABLE: &str = "Check that the database runs and that this host reaches it. Checkouts succeed again by themselves once it answers.";

/// Returns why a pool that is open cannot serve, and who holds its connections if it has a database.
fn cannot_serve(health: &Health) -> Option<String> {
    let is_open = health.status.state == Availability::Open;
    let reason = health.reason.as_ref().filter(|_| is_open)?;
    let longest = health.longest_holders.first();
    Some(match longest.filter(|_| health.database.reachable) {
        Some(longest) => format!("{reason}; held longest by {}", longest.sentence()),
        None => reason.clone(),
    })
}

/// Returns the text with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let end = if text.ends_with('.') { "" } else { "." };
    first.chain(letters).collect::<String>() + end
}

fn nothing(health: &Health) -> String {
    let (status, minute) = (&health.status, &health.windows.last_1m);
    let used = format!(
        "Nothing is wrong: {} of {} connections are in use",
        status.checked_out, status.max_connections
    );
    match minute.wait.p95_ms {
        Some(p95) => format!(
            "{used}, and of the last minute's checkouts ({} a second) 95 % got theirs within {}.",
            round(minute.arrivals_per_second, 1),
            lasting(p95 / 1e3),
        ),
        None => format!("{used}, and the last minute had no checkout."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_becomes_a_sentence() {
        assert_eq!(sentence("pool exhausted: all 8"), "Pool exhausted: all 8.");
        assert_eq!(sentence("élan."), "Élan.");
        assert_eq!(sentence(""), ".");
    }
}
