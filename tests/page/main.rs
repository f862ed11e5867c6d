//! The live page in a real browser: what a person sees, during each trouble.
#![allow(unreachable_pub, reason = "a test binary has no API")]

#[path = "../support/mod.rs"]
mod support;

mod app;
mod browser;
mod conduct;
mod troubles;
