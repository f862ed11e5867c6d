//! The programs that telemetry goes to, and the files that set them up.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../examples/app.rs"]
#[allow(dead_code, reason = "made for the tests of the examples")]
mod app;
mod expressions;
mod proof;
mod repository;

mod alerts;
mod arrival;
mod collector;
mod compose;
mod dashboard;
mod load;
mod traffic;
