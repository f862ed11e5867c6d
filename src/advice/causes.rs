//! Why no size, or not the one that is needed, can be recommended, and what to do instead.

use super::bottleneck::{Bottleneck, BottleneckKind, Contention};
use super::learned::Models;
use super::sentences::{Said, connections, millis};
use super::sizes::{Sizing, shorter_holds};
use crate::report::fleet::{Fleet, replicas_text};

/// How many places and statements a sentence names.
const NAMED: usize = 3;
/// A place is asked to shorten its holds by this share at most: more is no advice.
const SHORTEN: f64 = 0.9;

impl Said<'_> {
    pub(super) fn no_size_helps(
        &self,
        models: &Models<'_>,
        sizing: &Sizing,
        bottleneck: &Bottleneck,
    ) -> Option<String> {
        if sizing.need.is_some() || self.measured(models, sizing).is_some() {
            return None;
        }
        let because =
            limit(bottleneck).unwrap_or("more arrives than any pool could serve".to_owned());
        Some(format!(
            "No size meets the target of {}: {because}.{}",
            millis(self.asking.target),
            self.users(),
        ))
    }

    /// Connections beyond what serves more: the pool's queue is short because the other one is long.
    pub(super) fn saturated(&self, sizing: &Sizing, bottleneck: &Bottleneck) -> Option<String> {
        let level = bottleneck.saturates_at?;
        if sizing.need.is_none() || sizing.total() <= level {
            return None;
        }
        Some(format!(
            "But {}: more connections do not shorten the wait, they move it out of the pool's queue.{}",
            limit(bottleneck)?,
            self.users(),
        ))
    }

    /// Who uses the time.
    fn users(&self) -> String {
        let routes = self.found.routes.iter().take(NAMED);
        let routes: Vec<_> = routes
            .map(|route| format!("{} ({:.0} %)", route.name(), route.share_pct))
            .collect();
        let statements = self.found.statements.iter().take(NAMED);
        let statements: Vec<_> = statements
            .map(|one| {
                format!(
                    "{} ({:.0} %, {:.1} ms each)",
                    one.statement, one.share_pct, one.mean_ms
                )
            })
            .collect();
        let mut users = String::new();
        if !routes.is_empty() {
            users = format!(" Most connection time is used by {}.", routes.join(", "));
        }
        if !statements.is_empty() {
            users = format!(
                "{users} Most query time is used by {}.",
                statements.join(", ")
            );
        }
        users
    }

    pub(super) fn capped(&self, models: &Models<'_>, sizing: &Sizing) -> Option<String> {
        let fleet = self.found.fleet.as_ref().filter(|_| sizing.is_capped())?;
        let need = sizing.need?;
        Some(format!(
            "The load needs {}, and the server can grant {}: {}. Put a pooler such as PgBouncer in between, or raise its max_connections{}",
            connections(need),
            fleet.share,
            granted(fleet),
            self.shorter(models, sizing.total()),
        ))
    }

    /// What shorter holds would do instead.
    fn shorter(&self, models: &Models<'_>, connections: u32) -> String {
        let factor = shorter_holds(models.peak(self.asking), connections, self.asking.target);
        let Some(factor) = factor.filter(|factor| *factor < 1.0) else {
            return ".".to_owned();
        };
        let shorter = 1.0 - factor;
        let all = format!(
            "; or shorten the holds: {:.0} % shorter on average (now {}) is enough.",
            (shorter * 100.0).ceil(),
            millis(models.held()),
        );
        let Some(first) = self.found.routes.first() else {
            return all;
        };
        let alone = shorter / (first.share_pct / 100.0);
        let name = first.name();
        if alone <= SHORTEN {
            return format!(
                "{all} {name} uses {:.0} % of the time: {:.0} % shorter holds ({} in place of {}) there alone do it.",
                first.share_pct,
                (alone * 100.0).ceil(),
                millis(first.mean_ms / 1e3 * (1.0 - alone)),
                millis(first.mean_ms / 1e3),
            );
        }
        format!(
            "{all} {name} uses most of the time, {:.0} %.",
            first.share_pct
        )
    }
}

/// Up to where connections serve more, and why no further; `None` where that was not seen.
fn limit(bottleneck: &Bottleneck) -> Option<String> {
    let level = bottleneck.saturates_at?;
    let of = match &bottleneck.places[..] {
        [] => String::new(),
        places => format!(" of {}", places.join(" and ")),
    };
    let work = bottleneck
        .work_ms
        .map_or(String::new(), |work| millis(work / 1e3));
    let parallel = bottleneck.parallel.unwrap_or(1.0);
    let why = match (bottleneck.kind, bottleneck.contention) {
        (BottleneckKind::Database, Some(Contention::Lock)) => {
            format!(", because queries{of} wait for each other's lock, which each keeps for {work}")
        }
        (BottleneckKind::Database, _) => format!(
            ", because queries{of} share what {parallel:.1} of them saturate, such as the database's processors or disks, for {work} each"
        ),
        (BottleneckKind::Application, _) => format!(
            ", because the service itself saturates between its queries: its work takes {work} a hold, and {parallel:.1} holds at a time keep it busy"
        ),
        (BottleneckKind::Connections | BottleneckKind::Unknown, _) => String::new(),
    };
    Some(format!(
        "beyond {} in use practically no more is served{why}",
        connections(level)
    ))
}

/// How the share comes about.
fn granted(fleet: &Fleet) -> String {
    let limit = match fleet.user_limit {
        Some(limit) if limit < fleet.server_max_connections => {
            format!("a limit of {limit} for this user or database")
        }
        _ => format!("max_connections {}", fleet.server_max_connections),
    };
    format!(
        "{limit}, reserved {}, used by others {}, shared among {} ({}), one of each for monitoring",
        fleet.reserved,
        fleet.other_connections,
        replicas_text(fleet.replicas),
        fleet.counted,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: BottleneckKind, contention: Contention, places: &[&str]) -> String {
        let found = Bottleneck {
            kind,
            contention: Some(contention),
            parallel: Some(2.04),
            work_ms: Some(3.1),
            saturates_at: Some(8),
            most_per_second: Some(300.0),
            places: places.iter().map(|place| (*place).to_owned()).collect(),
            numbers: Vec::new(),
        };
        limit(&found).unwrap()
    }

    #[test]
    fn a_lock_a_saturated_server_and_a_busy_service_are_named() {
        let lock = said(BottleneckKind::Database, Contention::Lock, &["/orders"]);
        assert_eq!(
            lock,
            "beyond 8 connections in use practically no more is served, because queries of /orders wait for each other's lock, which each keeps for 3.1 ms"
        );
        let server = said(BottleneckKind::Database, Contention::Shared, &[]);
        assert!(
            server.contains("queries share what 2.0 of them saturate"),
            "{server}"
        );
        assert!(
            server.contains("processors or disks, for 3.1 ms each"),
            "{server}"
        );
        let service = said(BottleneckKind::Application, Contention::Shared, &[]);
        assert!(
            service.contains("the service itself saturates"),
            "{service}"
        );
    }
}
