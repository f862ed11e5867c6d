//! The output of `optimize`, read from its JSON.

use std::collections::BTreeSet;
use std::time::Duration;

use poolscope::report::WhatIf;
use poolscope_benches::peers::Ours;
use poolscope_benches::statistics::median;
use serde_json::{Value, json};

/// The advice given after an observation.
#[derive(Debug)]
pub(crate) struct Advice {
    /// The recommended connections, overflow included; `None` without enough data.
    pub(crate) recommended: Option<u32>,
    pub(crate) predicted: Vec<Predicted>,
    /// The JSON output.
    pub(crate) json: Value,
}

/// The prediction for one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Predicted {
    pub(crate) connections: u32,
    pub(crate) utilization_pct: Option<f64>,
    pub(crate) queueing_pct: Option<f64>,
    /// `None` for overload: the queue grows without bound.
    pub(crate) p95: Option<Duration>,
    pub(crate) beyond_data: u64,
}

impl Advice {
    /// Returns the advice for the observed demand, without headroom, because a sweep repeats that demand.
    /// Includes predictions for `sizes`, even if the advice's table lacks them.
    pub(crate) async fn ask(pool: &Ours, sizes: &[u32]) -> Self {
        let mut advice = Self::read(serde_json::to_value(pool.optimize().await).expect("JSON"));
        for &connections in sizes {
            if advice.at(connections).is_none() {
                let what_if = WhatIf::new().pool_size(connections);
                let answer = pool.optimize_for(&what_if).await.expect("a size");
                let json = serde_json::to_value(answer).expect("JSON");
                advice.predicted.extend(Predicted::read(&json["asked"]));
            }
        }
        advice
    }

    fn read(json: Value) -> Self {
        let number = |name: &str| json[name].as_u64().and_then(|it| u32::try_from(it).ok());
        let recommended = number("recommended_pool_size")
            .map(|size| size + number("recommended_max_overflow").unwrap_or(0));
        let predicted = json["predicted"].as_array();
        Self {
            recommended,
            predicted: predicted
                .into_iter()
                .flatten()
                .filter_map(Predicted::read)
                .collect(),
            json,
        }
    }

    /// The median of several, value by value.
    pub(crate) fn median(several: &[Self]) -> Self {
        let recommended: Vec<_> = several.iter().filter_map(|it| it.recommended).collect();
        let sizes: BTreeSet<u32> = several
            .iter()
            .flat_map(|it| &it.predicted)
            .map(|it| it.connections)
            .collect();
        let predicted = sizes.into_iter().map(|connections| {
            let all: Vec<_> = several.iter().filter_map(|it| it.at(connections)).collect();
            Predicted::median(connections, &all)
        });
        Self {
            recommended: (!recommended.is_empty())
                .then(|| middle(recommended.iter().map(|it| f64::from(*it))) as u32),
            predicted: predicted.collect(),
            json: several.last().map_or(Value::Null, |it| it.json.clone()),
        }
    }

    /// The part that is evaluated.
    pub(crate) fn to_json(&self) -> Value {
        let predicted = self.predicted.iter().map(|it| {
            json!({
                "connections": it.connections,
                "p95_ms": it.p95.map(|p95| p95.as_secs_f64() * 1e3),
                "utilization_pct": it.utilization_pct,
                "queueing_pct": it.queueing_pct,
                "beyond_data": it.beyond_data,
            })
        });
        json!({
            "recommended": self.recommended,
            "predicted": predicted.collect::<Vec<_>>(),
        })
    }

    pub(crate) fn at(&self, connections: u32) -> Option<Predicted> {
        let mut all = self.predicted.iter();
        all.find(|it| it.connections == connections).copied()
    }
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    median(values.collect())
}

impl Predicted {
    fn median(connections: u32, all: &[Self]) -> Self {
        let known = |of: fn(&Self) -> Option<f64>| {
            let known: Vec<_> = all.iter().filter_map(of).collect();
            (!known.is_empty()).then(|| median(known))
        };
        // An overload is longer than any wait.
        let p95 = middle(
            all.iter()
                .map(|it| it.p95.map_or(f64::INFINITY, |p95| p95.as_secs_f64())),
        );
        Self {
            connections,
            utilization_pct: known(|it| it.utilization_pct),
            queueing_pct: known(|it| it.queueing_pct),
            p95: p95.is_finite().then(|| Duration::from_secs_f64(p95)),
            beyond_data: all.iter().map(|it| it.beyond_data).max().unwrap_or(0),
        }
    }

    fn read(json: &Value) -> Option<Self> {
        let connections = u32::try_from(json["connections"].as_u64()?).ok()?;
        let p95 = json["p95_ms"].as_f64();
        Some(Self {
            connections,
            utilization_pct: json["utilization_pct"].as_f64(),
            queueing_pct: json["queueing_pct"].as_f64(),
            p95: p95.map(|ms| Duration::from_secs_f64(ms / 1e3)),
            beyond_data: json["beyond_data"].as_u64().unwrap_or(0),
        })
    }
}
