//! The examples, run as a user runs them.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

mod app;
mod databases;

mod concurrent_start;
mod drain;
mod outage;
mod pool_exhaustion;
mod reports;
mod requests;
mod settings;
mod small_examples;
mod trouble;
