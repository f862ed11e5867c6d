//! The examples, run as a user runs them.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

mod app;
mod databases;

mod drain;
mod exhausted;
mod outage;
mod reports;
mod requests;
mod settings;
mod small;
mod together;
