//! Export of telemetry: what arrives at a real collector, and what happens if no receiver accepts it.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

mod app;
mod log;
mod receiver;

mod arrival;
mod encrypted;
mod ending;
mod losses;
mod own_subscriber;
mod quickstart;
mod variables;
