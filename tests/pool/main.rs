//! The behaviour of a pool on real servers, as users see it.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

mod abandoned_queries;
mod access;
mod admission;
mod advice;
mod blame;
mod checkout_spans;
mod closing;
mod connect_errors;
mod connecting;
mod connection_setup;
mod connections_report;
mod custom_stacks;
mod database_down;
mod databases;
mod debug_output;
mod dirty_connections;
mod documented;
mod drop_in;
mod environment;
mod existing_pool;
mod fairness;
mod fleet;
mod health;
mod hostile_input;
mod in_memory_exporters;
mod leaks;
mod live;
mod lock_waits;
mod log_capture;
mod log_events;
mod metrics;
mod monitor_client;
mod n_plus_one;
mod nested;
mod optimize;
mod outage_reports;
mod overflow;
mod page;
mod pre_ping;
mod prometheus;
mod queries;
mod routes;
mod secrets;
mod session_names;
mod tls;
mod what_if;
