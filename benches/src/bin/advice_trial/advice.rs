//! What `optimize` says, as far as it is judged: read from the JSON that everybody gets.

use std::time::Duration;

use poolscope::WhatIf;
use poolscope_benches::peers::Ours;
use serde_json::Value;

/// The advice given after an observation.
#[derive(Debug)]
pub(crate) struct Advice {
    /// Connections recommended, overflow included; `None` if it says it has not enough data.
    pub(crate) recommended: Option<u32>,
    pub(crate) predicted: Vec<Predicted>,
    /// All that was said.
    pub(crate) said: Value,
}

/// What is predicted of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Predicted {
    pub(crate) connections: u32,
    pub(crate) utilization_pct: Option<f64>,
    pub(crate) queueing_pct: Option<f64>,
    /// `None` for overload: the queue grows without end.
    pub(crate) p95: Option<Duration>,
    pub(crate) beyond_data: u64,
}

impl Advice {
    /// The advice for the demand as it was, without headroom: a sweep has no more of it; and what
    /// is predicted of these sizes, wherever the table of the advice ends.
    pub(crate) async fn ask(pool: &Ours, sizes: &[u32]) -> Self {
        let mut advice = Self::read(serde_json::to_value(pool.optimize().await).expect("JSON"));
        for &connections in sizes {
            if advice.at(connections).is_none() {
                let what_if = WhatIf::new().pool_size(connections);
                let answer = pool.optimize_for(&what_if).await.expect("a size");
                let said = serde_json::to_value(answer).expect("JSON");
                advice.predicted.extend(Predicted::read(&said["asked"]));
            }
        }
        advice
    }

    fn read(said: Value) -> Self {
        let number = |name: &str| said[name].as_u64().and_then(|it| u32::try_from(it).ok());
        let recommended = number("recommended_pool_size")
            .map(|size| size + number("recommended_max_overflow").unwrap_or(0));
        let predicted = said["predicted"].as_array();
        Self {
            recommended,
            predicted: predicted
                .into_iter()
                .flatten()
                .filter_map(Predicted::read)
                .collect(),
            said,
        }
    }

    pub(crate) fn at(&self, connections: u32) -> Option<Predicted> {
        let mut all = self.predicted.iter();
        all.find(|it| it.connections == connections).copied()
    }
}

impl Predicted {
    fn read(said: &Value) -> Option<Self> {
        let connections = u32::try_from(said["connections"].as_u64()?).ok()?;
        let p95 = said["p95_ms"].as_f64();
        Some(Self {
            connections,
            utilization_pct: said["utilization_pct"].as_f64(),
            queueing_pct: said["queueing_pct"].as_f64(),
            p95: p95.map(|ms| Duration::from_secs_f64(ms / 1e3)),
            beyond_data: said["beyond_data"].as_u64().unwrap_or(0),
        })
    }
}
