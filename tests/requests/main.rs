//! What a request's layer makes of requests, in every kind of HTTP stack.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/waiting.rs"]
#[allow(dead_code, reason = "shared with other test binaries")]
mod waiting;

mod bodies;
mod counts;
mod ends;
mod parents;
mod routes;
mod servers;
mod spans;
mod stacks;
mod traced;
mod watched;
