//! The request layer in every kind of HTTP stack.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/waiting.rs"]
#[allow(dead_code, reason = "shared with other test binaries")]
mod waiting;

mod aborted_requests;
mod bodies;
mod hyper_server;
mod request_counts;
mod routes;
mod server_spans;
mod span_parents;
mod test_app;
mod tower_http_layers;
mod trace_layer;
