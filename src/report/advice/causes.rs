//! Why no size, or not the one that is needed, can be recommended, and what to do instead.

use super::bottleneck::{Bottleneck, BottleneckKind};
use super::learned::Learned;
use super::sentences::{Said, connections, millis};
use super::sizes::{Sizing, shorter_holds};
use crate::report::fleet::{Fleet, replicas_text};

/// How many places and statements a sentence names.
const NAMED: usize = 3;
/// A place is told to shorten its holds by this share at most: more is no advice.
const SHORTEN: f64 = 0.9;
/// What lets through more evenly than this tells whether it is shared.
const REGULAR: f64 = 0.15;

impl Said<'_> {
    pub(super) fn no_size_helps(&self, learned: &Learned<'_>, sizing: &Sizing) -> Option<String> {
        if sizing.need.is_some() || self.measured(learned, sizing).is_some() {
            return None;
        }
        let because = limit(&learned.bottleneck())
            .unwrap_or("more arrives than any pool could serve".to_owned());
        Some(format!(
            "No size meets the target of {}: {because}.{}",
            millis(self.asking.target),
            self.users(),
        ))
    }

    /// Connections beyond what serves more: the pool's queue is short because the other one is long.
    pub(super) fn saturated(&self, learned: &Learned<'_>, sizing: &Sizing) -> Option<String> {
        let bottleneck = learned.bottleneck();
        let level = bottleneck.falls_beyond.or(bottleneck.saturates_at)?;
        if sizing.need.is_none() || sizing.total() <= level {
            return None;
        }
        Some(format!(
            "But {}: more connections do not shorten the wait, they move it out of the pool's queue.{}",
            limit(&bottleneck)?,
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

    pub(super) fn capped(&self, learned: &Learned<'_>, sizing: &Sizing) -> Option<String> {
        let fleet = self.found.fleet.as_ref().filter(|_| sizing.is_capped())?;
        let need = sizing.need?;
        Some(format!(
            "The load needs {}, and the server can grant {}: {}. Put a pooler such as PgBouncer in between, or raise its max_connections{}",
            connections(need),
            fleet.share,
            granted(fleet),
            self.shorter(learned, sizing.total()),
        ))
    }

    /// What shorter holds would do instead.
    fn shorter(&self, learned: &Learned<'_>, connections: u32) -> String {
        let factor = shorter_holds(learned.peak(self.asking), connections, self.asking.target);
        let Some(factor) = factor.filter(|factor| *factor < 1.0) else {
            return ".".to_owned();
        };
        let shorter = 1.0 - factor;
        let all = format!(
            "; or shorten the holds: {:.0} % shorter on average (now {}) is enough.",
            (shorter * 100.0).ceil(),
            millis(learned.held()),
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

/// Up to where connections serve more, and why no further; none where that was not seen.
fn limit(bottleneck: &Bottleneck) -> Option<String> {
    let beyond = match (bottleneck.falls_beyond, bottleneck.saturates_at) {
        (Some(level), _) => format!(
            "beyond {} in use less is served, not more",
            connections(level)
        ),
        (None, Some(level)) => {
            format!(
                "beyond {} in use practically no more is served",
                connections(level)
            )
        }
        (None, None) => return None,
    };
    let why = match bottleneck.kind {
        BottleneckKind::Database => match Way::of(bottleneck) {
            Some(Way::Turns) => ", for queries take turns at each other's locks",
            Some(Way::Shared) => {
                ", for queries share what they saturate, such as the database's processors or disks"
            }
            None => {
                ", for queries take longer: the database saturates, or they wait for each other's locks"
            }
        },
        BottleneckKind::Application => ", for the service itself takes longer between its queries",
        BottleneckKind::Connections | BottleneckKind::Unknown => "",
    };
    Some(beyond + why)
}

/// How queries are in each other's way.
enum Way {
    Turns,
    Shared,
}

impl Way {
    /// Said only where it can't well be anything else: a server whose speed changes is no lock.
    fn of(bottleneck: &Bottleneck) -> Option<Self> {
        bottleneck.variation.filter(|it| *it < REGULAR)?;
        match bottleneck.turns? {
            turns if turns > 0.6 => Some(Self::Turns),
            turns if turns < 0.2 => Some(Self::Shared),
            _ => None,
        }
    }
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

    #[test]
    fn a_lock_is_told_from_a_server_only_where_that_is_certain() {
        let said = |kind, variation, turns| {
            let found = Bottleneck {
                kind,
                saturates_at: Some(8),
                most_per_second: Some(300.0),
                falls_beyond: None,
                variation,
                turns,
                holds: Vec::new(),
            };
            limit(&found).unwrap()
        };
        let database = |variation, turns| said(BottleneckKind::Database, variation, turns);
        let lock = database(Some(0.03), Some(0.9));
        assert!(lock.ends_with("take turns at each other's locks"), "{lock}");
        let server = database(Some(0.05), Some(0.0));
        assert!(server.contains("processors or disks"), "{server}");
        let either = "the database saturates, or they wait";
        for (variation, turns) in [
            (None, None),
            (Some(0.03), None),
            (None, Some(1.0)),
            (Some(0.9), Some(1.0)),
            (Some(0.9), Some(0.0)),
            (Some(0.03), Some(0.4)),
        ] {
            let said = database(variation, turns);
            assert!(said.contains(either), "{variation:?} {turns:?}: {said}");
        }
        let service = said(BottleneckKind::Application, Some(0.03), Some(0.9));
        assert!(service.contains("the service itself"), "{service}");
    }
}
