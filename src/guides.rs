//! Runs the examples of the guides as doctests.

#[doc = include_str!("../README.md")]
struct Readme;
#[doc = include_str!("../docs/advice.md")]
struct Advice;
#[doc = include_str!("../docs/architecture.md")]
struct Architecture;
#[doc = include_str!("../docs/best-practices.md")]
struct BestPractices;
#[doc = include_str!("../docs/moving-over.md")]
struct MovingOver;
#[doc = include_str!("../docs/monitoring.md")]
struct Monitoring;
#[doc = include_str!("../docs/production.md")]
struct Production;
#[doc = include_str!("../docs/reliability.md")]
struct Reliability;
#[doc = include_str!("../docs/telemetry.md")]
struct Telemetry;
#[doc = include_str!("../docs/troubleshooting.md")]
struct Troubleshooting;
