//! Explains why no size, or not the needed size, can be recommended, and what to do instead.

use super::bottleneck::{Bottleneck, BottleneckKind, Contention};
use super::recommendation::Recommendation;
use super::sentences::{connections, millis};
use super::sizes::shorter_holds;
use crate::report::fleet::{Fleet, replicas_text};

/// The number of call sites and statements in a sentence.
const NAMED: usize = 3;
/// The largest share by which one call site's holds should become shorter. More is not practical.
const SHORTEN: f64 = 0.9;

impl Recommendation<'_> {
    pub(super) fn no_size_helps(&self) -> Option<String> {
        if self.sizing.need.is_some() || self.kept_for.is_some() {
            return None;
        }
        let arrivals = || "the arrivals exceed what any pool could serve".to_owned();
        Some(format!(
            "No size meets the target of {}: {}.{}",
            millis(self.asking.target),
            limit(&self.bottleneck).unwrap_or_else(arrivals),
            self.users(),
        ))
    }

    /// Warns if the recommended size exceeds the saturation level: then the pool's queue is short
    /// because the queue behind it is long.
    pub(super) fn saturated(&self) -> Option<String> {
        let level = self.bottleneck.saturates_at?;
        if self.sizing.need.is_none() || self.sizing.total() <= level {
            return None;
        }
        Some(format!(
            "But {}: more connections do not shorten the wait, they move it out of the pool's queue.{}",
            limit(&self.bottleneck)?,
            self.users(),
        ))
    }

    /// Returns the call sites that use most connection time and the statements that use most query time.
    fn users(&self) -> String {
        let sites = self.found.call_sites.iter().take(NAMED);
        let sites = sites.map(|site| format!("{} ({:.0} %)", site.name(), site.share_of_held_pct));
        let statements = self.found.statements.iter().take(NAMED);
        let statements = statements.map(|one| {
            let (name, share, mean) = (&one.statement, one.share_pct, one.mean_ms);
            format!("{name} ({share:.0} %, {mean:.1} ms each)")
        });
        let named = |what: &str, users: Vec<String>| match users.is_empty() {
            true => String::new(),
            false => format!(" Most {what} time is used by {}.", users.join(", ")),
        };
        named("connection", sites.collect()) + &named("query", statements.collect())
    }

    pub(super) fn capped(&self) -> Option<String> {
        let fleet = self.found.fleet.as_ref();
        let fleet = fleet.filter(|_| self.sizing.is_capped())?;
        Some(format!(
            "The load needs {}, but the server can grant only {}: {}. Put a pooler such as PgBouncer in between, or raise the server's max_connections{}",
            connections(self.sizing.need?),
            fleet.share,
            granted(fleet),
            self.shorter(),
        ))
    }

    /// Returns by how much holds would have to be shorter instead.
    fn shorter(&self) -> String {
        let percent = shorter_holds(self.peak, self.sizing.total(), self.asking.target);
        let Some(percent) = percent.filter(|percent| *percent > 0) else {
            return ".".to_owned();
        };
        let all = format!(
            "; or shorten the holds: {percent} % shorter on average (now {}) is enough.",
            millis(self.recorded.held),
        );
        let Some(first) = self.found.call_sites.first() else {
            return all;
        };
        let alone = f64::from(percent) / first.share_of_held_pct;
        let (name, share) = (first.name(), first.share_of_held_pct);
        if alone > SHORTEN {
            return format!("{all} {name} uses the largest share of the time, {share:.0} %.");
        }
        format!(
            "{all} {name} uses {share:.0} % of the time: shortening only its holds by {:.0} % ({} instead of {}) is also enough.",
            (alone * 100.0).ceil(),
            millis(first.mean_held_ms / 1e3 * (1.0 - alone)),
            millis(first.mean_held_ms / 1e3),
        )
    }
}

/// Returns the level beyond which more connections do not serve more, and the cause; `None` if the
/// record shows no such level.
fn limit(bottleneck: &Bottleneck) -> Option<String> {
    let level = bottleneck.saturates_at?;
    let of = match &bottleneck.call_sites[..] {
        [] => String::new(),
        places => format!(" of {}", places.join(" and ")),
    };
    let work = bottleneck
        .work_ms
        .map_or(String::new(), |work| millis(work / 1e3));
    let parallel = bottleneck.parallel.unwrap_or(1.0);
    let why = match (bottleneck.kind, bottleneck.contention) {
        (BottleneckKind::Database, Some(Contention::Lock)) => {
            format!(", because queries{of} wait for a lock that each query holds for {work}")
        }
        (BottleneckKind::Database, _) => format!(
            ", because queries{of} share a resource that {parallel:.1} of them saturate, such as the database's processors or disks, for {work} each"
        ),
        (BottleneckKind::Application, _) => format!(
            ", because the service itself saturates between its queries: its work takes {work} per hold, and {parallel:.1} concurrent holds keep it busy"
        ),
        (BottleneckKind::Connections | BottleneckKind::Unknown, _) => String::new(),
    };
    Some(format!(
        "throughput stops growing beyond {} in use{why}",
        connections(level)
    ))
}

/// Returns how the pool's share is computed.
fn granted(fleet: &Fleet) -> String {
    let limit = match fleet.user_limit {
        Some(limit) if limit < fleet.server_max_connections => {
            format!("a limit of {limit} for this user or database")
        }
        _ => format!("max_connections {}", fleet.server_max_connections),
    };
    format!(
        "{limit}, reserved {}, used by others {}, shared by {} ({}), one connection of each for monitoring",
        fleet.reserved,
        fleet.other_connections,
        replicas_text(fleet.replicas),
        fleet.counted,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause_sentence(kind: BottleneckKind, contention: Contention, places: &[&str]) -> String {
        let found = Bottleneck {
            kind,
            contention: Some(contention),
            parallel: Some(2.04),
            work_ms: Some(3.1),
            saturates_at: Some(8),
            most_per_second: Some(300.0),
            call_sites: places.iter().map(|place| (*place).to_owned()).collect(),
        };
        limit(&found).unwrap()
    }

    #[test]
    fn each_cause_of_saturation_is_named() {
        let lock = cause_sentence(BottleneckKind::Database, Contention::Lock, &["/orders"]);
        assert_eq!(
            lock,
            "throughput stops growing beyond 8 connections in use, because queries of /orders wait for a lock that each query holds for 3.1 ms"
        );
        let server = cause_sentence(BottleneckKind::Database, Contention::Shared, &[]);
        assert!(
            server.contains("queries share a resource that 2.0 of them saturate"),
            "{server}"
        );
        assert!(
            server.contains("processors or disks, for 3.1 ms each"),
            "{server}"
        );
        let service = cause_sentence(BottleneckKind::Application, Contention::Shared, &[]);
        assert!(
            service.contains("the service itself saturates"),
            "{service}"
        );
    }
}
