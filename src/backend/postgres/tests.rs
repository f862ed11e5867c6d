//! Tests against real servers, which the tests start themselves: one with TLS and one without.

#[cfg(feature = "tls")]
mod certificates;
mod connecting;
mod copying;
mod readings;
mod server;
mod statements;
#[cfg(feature = "tls")]
mod tls;

use crate::backend::support;
