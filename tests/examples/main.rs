//! The examples, run as a user runs them.

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
