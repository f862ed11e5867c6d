//! The layers and services of a pool's tower stack, with their futures and guards.
//!
//! [`Pool`](crate::Pool) is this stack with a name on it, so most applications need nothing from here. An
//! application that puts the stack together itself, over a bb8 pool that it has, starts with
//! [`ObserveLayer`] and [`PoolService`]:
//!
//! ```text
//! ObserveLayer ─▶ Observe        spans, metrics, the record of who holds a connection
//!   AdmitLayer ─▶ Admit          a fair queue with a timeout and load shedding
//!                 PoolService    takes a connection from bb8, checks it, gives it back
//! ```
//!
//! All of them are a `Service<Checkout>`; each answers with a guard that dereferences to the connection.

pub use crate::admit::{Admit, AdmitLayer, Admitted, Gate, ResponseFuture as AdmitFuture};
#[doc(hidden)]
pub use crate::checkout::query_context::ContextSlot;
pub use crate::checkout::{ConnectionFacts, PooledGuard, TransactionState};
pub use crate::connection::{
    ExistingLease, Lease, Manager, PoolService, ResponseFuture as LeaseFuture, WarmUp,
};
#[doc(hidden)]
pub use crate::connection::{ExistingShared, Managed, OwnShared};
pub use crate::observe::{Observe, ObserveLayer, Observed, ResponseFuture as ObserveFuture};
pub use crate::pool::Stack;
pub use crate::record::inventory::{Availability, Counts, Inventory};
pub use crate::record::pool_events::{CloseReason, PoolEvents};
pub use crate::report::source::{Source, SourceLayer, WithSource};
pub use crate::request::{Attributed, AttributedBody, AttributedFuture, RequestLayer, Route};
