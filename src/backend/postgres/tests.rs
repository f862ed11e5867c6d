//! Tests against real servers, which the tests start themselves: one with TLS and one without.

#[cfg(feature = "tls")]
mod certificates;
mod connecting;
mod copying;
mod readings;
mod server;
mod statements;
#[path = "../../../tests/support/mod.rs"]
#[allow(
    missing_debug_implementations,
    unreachable_pub,
    reason = "shared with the integration tests"
)]
mod support;
#[cfg(feature = "tls")]
mod tls;
