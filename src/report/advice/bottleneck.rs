//! What keeps the pool from serving more.

use serde::Serialize;

/// What keeps more connections from serving more, as far as the curve tells.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bottleneck {
    /// What it is.
    pub kind: BottleneckKind,
    /// The number of connections in use at which the most is served; `null` where none is in sight.
    pub saturates_at: Option<u32>,
    /// Whether more connections than that serve less, and not only no more.
    pub falls: bool,
}

/// What keeps more connections from serving more.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BottleneckKind {
    /// The number of connections: each more serves more.
    Connections,
    /// The database: time in queries grows with each connection more. It saturates, or they wait for
    /// each other's locks.
    Database,
    /// The service itself: it holds connections without using them, for longer the more it has.
    Application,
    /// It is not known how long queries take.
    Unknown,
}
