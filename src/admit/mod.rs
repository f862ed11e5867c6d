//! Admission: how many checkouts run at once, in which order, and which are rejected.
//!
//! [`AdmitLayer`] puts a fair queue in front of a pool. Each connection has one permit. Permits are
//! handed out first come, first served, and the response holds its permit until it is dropped. The
//! pool behind the gate never gets more requests than it has connections, so its own queue stays
//! empty, even if that queue lets newcomers overtake (as bb8's does).
//!
//! `queue.rs` contains all of the rules, without a lock or a clock. `gate.rs` adds the lock.
//!
//! ```
//! use poolscope::Checkout;
//! use poolscope::service::{AdmitLayer, PooledGuard};
//! use std::{ops::Deref, time::Duration};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! #[derive(Debug)]
//! struct Conn(u32);
//! # impl Deref for Conn { type Target = u32; fn deref(&self) -> &u32 { &self.0 } }
//! impl PooledGuard for Conn {}
//!
//! let pool = service_fn(|_: Checkout| async { Ok::<_, poolscope::PoolError>(Conn(7)) });
//! let pool = AdmitLayer::new(1, Duration::from_millis(20)).layer(pool);
//!
//! let first = pool.clone().oneshot(Checkout::new()).await.unwrap();
//! assert!(pool.clone().oneshot(Checkout::new()).await.unwrap_err().is_timeout());
//! drop(first);
//! assert_eq!(*pool.oneshot(Checkout::new()).await.unwrap(), 7);
//! # }
//! ```

mod codel;
mod future;
mod gate;
mod layer;
mod permit;
mod queue;
mod service;
mod waiters;

pub use self::future::ResponseFuture;
pub use self::gate::Gate;
pub use self::layer::AdmitLayer;
pub use self::permit::Admitted;
pub use self::service::Admit;
