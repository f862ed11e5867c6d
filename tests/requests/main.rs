//! What a request's layer makes of requests, in every kind of HTTP stack.
#![allow(unreachable_pub, reason = "a test binary has no API")]

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
