//! What users see of a pool, on real servers.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

mod care;
mod clean;
mod closing;
mod databases;
mod drop_in;
mod failures;
mod fairness;
mod log;
mod overflow;
