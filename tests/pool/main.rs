//! What users see of a pool, on real servers.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod admission;
mod asking;
mod care;
mod clean;
mod closing;
mod collected;
mod databases;
mod dialing;
mod documented;
mod down;
mod drop_in;
mod environment;
mod events;
mod existing;
mod faces;
mod failures;
mod fairness;
mod fleet;
mod health;
mod hostile;
mod leaks;
mod log;
mod n_plus_one;
mod nested;
mod optimize;
mod outages;
mod overflow;
mod predicted;
mod prometheus;
mod queries;
mod queries_given_up;
mod recombined;
mod reports;
mod routes;
mod secrets;
mod session_names;
mod spans;
mod telemetry;
mod tls;
mod what_if;
