//! The metrics page for Prometheus, in its text format.
//!
//! The page is written without a client library. It lists all
//! [`families`](crate::metrics::catalog), each read at one instant.

mod name;
mod page;
mod text;

pub(crate) use self::page::Page;

/// The type of the page: Prometheus' text format, version 0.0.4.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
