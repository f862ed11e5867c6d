//! The programs that receive telemetry, and their configuration files.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../examples/app.rs"]
#[allow(dead_code, reason = "made for the tests of the examples")]
mod app;
mod expressions;
mod repository_files;
mod telemetry_end_to_end;

mod alerts;
mod collector;
mod compose;
mod dashboard;
mod expressions_under_load;
mod quickstart_traffic;
mod support_servers;
