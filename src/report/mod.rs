//! The reports: status, health and connections, as plain serde structs.
//!
//! The reports are methods of [`Observe`](crate::service::Observe), for any observed stack that is a [`Source`].

mod blame;
pub(crate) mod call_sites;
mod connections;
mod efficiency;
pub(crate) mod fleet;
pub(crate) mod grant;
mod health;
mod healthcheck;
mod holders;
mod invalidation;
pub(crate) mod live;
mod lock_waits;
mod repeats;
pub(crate) mod sessions;
mod shed;
pub(crate) mod source;
mod statements;
mod status;
pub(crate) mod timings;
pub(crate) mod warnings;

pub use self::blame::{BlameReport, BlameWindow, BlamedPair, BlamedSite};
pub use self::call_sites::CallSite;
pub use self::connections::{Connections, SessionReport};
pub use self::efficiency::HoldEfficiency;
pub use self::fleet::Fleet;
pub use self::health::{DatabaseHealth, Health, Windows};
pub use self::healthcheck::Healthcheck;
pub use self::holders::{HolderReport, NestedCheckout};
pub use self::lock_waits::Blocker;
pub use self::repeats::RepeatedStatement;
pub use self::shed::{ShedReport, ShedRoute};
pub use self::source::Configuration;
pub(crate) use self::source::{Source, SourceFacts};
pub use self::statements::StatementShare;
pub use self::status::{Status, WaitingFor};
pub use self::timings::{PhaseTimings, Timings, Window};

pub use crate::advice::{
    Accuracy, Bottleneck, BottleneckKind, Comparison, Contention, CurrentUsage, CurvePoint,
    Evidence, EvidenceWindow, EvidenceWindows, HalvedHolds, NotEnoughData, Optimization,
    PredictedWait, ReplayedRecord, WhatIf, WhatIfError,
};
pub use crate::record::totals::{Closed, Totals};
