//! What users see of a pool, on real servers.

#[path = "../support/mod.rs"]
mod support;

mod clean;
mod closing;
mod databases;
mod fairness;
mod overflow;
