//! Causes faults between an app and its database, on real servers. One test for each row of
//! docs/reliability.md; each ends by checking that nothing is lost.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

// Helpers of the pool's tests.
#[allow(dead_code, reason = "the tests of the pool use all of it")]
#[path = "../pool/databases.rs"]
mod databases;
#[allow(dead_code, reason = "the tests of the pool use all of it")]
#[path = "../pool/log_capture.rs"]
mod log_capture;
#[allow(dead_code, reason = "the tests of the pool use all of it")]
#[path = "../pool/monitor_client.rs"]
mod monitor_client;
#[allow(dead_code, reason = "the tests of telemetry use all of it")]
#[path = "../telemetry/receiver.rs"]
mod receiver;

mod load;
mod lost;
mod servers;

mod addresses;
mod documented;
mod dropped;
mod given_up;
mod holders;
mod invalidated;
mod logins;
mod monitoring;
mod network;
mod outages;
mod pgbouncer;
mod refused;
mod session_state;
mod sqlite;
mod telemetry;
mod timeouts;
mod waiters;
