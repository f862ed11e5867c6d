//! What goes wrong between an app and its database, done to real servers: one test for each row of
//! docs/reliability.md, and at the end of each, nothing is lost.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

// As the tests of the pool say it.
#[allow(dead_code, reason = "the tests of the pool use all of it")]
#[path = "../pool/asking.rs"]
mod asking;
#[allow(dead_code, reason = "the tests of the pool use all of it")]
#[path = "../pool/databases.rs"]
mod databases;
#[allow(dead_code, reason = "the tests of telemetry use all of it")]
#[path = "../telemetry/receiver.rs"]
mod receiver;

mod load;
mod lost;
mod servers;

mod documented;
mod dropped;
mod holders;
mod logins;
mod monitoring;
mod network;
mod outages;
mod pgbouncer;
mod refused;
mod sqlite;
mod telemetry;
mod timeouts;
mod waiters;
