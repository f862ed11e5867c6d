//! Tests the complete advice on given loads.

pub(super) mod erlang;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use self::erlang::{Erlang, NOW, demand, learned, steady, young};
use super::learned::{Forecast, Learned};
use super::recommendation::advise;
use super::*;
use crate::record::inventory::Counts;

const HELD: Duration = Duration::from_millis(80);

/// 100 checkouts per second, held for 80 ms: eight connections on average.
const USUAL: Erlang = Erlang::new(100.0, 0.08);

const FLAT_FROM_8: Erlang = Erlang {
    saturates: Some((8, 0.0)),
    ..USUAL
};

const FALLING_FROM_8: Erlang = Erlang {
    saturates: Some((8, 0.02)),
    ..USUAL
};

/// The complete input of the advice.
struct Scene {
    asking: Asking,
    learned: Learned,
    found: Findings,
}

impl Scene {
    /// Creates a pool of this size and overflow under this load.
    fn new(pool_size: u32, max_overflow: u32, learned: Learned) -> Self {
        Self {
            asking: Asking {
                what_if: WhatIf::new(),
                target: 0.005,
                headroom_pct: 20.0,
                overflows: true,
                counts: Counts::new(4, 1, pool_size, max_overflow),
            },
            found: Findings {
                places: HashMap::new(),
                fleet: None,
                server_can_grant: None,
                call_sites: Vec::new(),
                most_blamed: None,
                statements: Vec::new(),
                accuracy: None,
                unreachable: None,
            },
            learned,
        }
    }

    fn advice(&self) -> Optimization {
        let counts = self.asking.counts;
        let configuration = Configuration {
            pool_size: counts.pool_size,
            max_overflow: counts.max_overflow,
            pool_timeout: None,
            pool_recycle: None,
            pool_pre_ping: None,
        };
        advise(
            configuration,
            &self.asking,
            &self.learned,
            self.found.clone(),
        )
    }

    #[track_caller]
    fn assert_says(&self, words: &[&str]) {
        let text = self.advice().recommendations.join(" ");
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    fn with_share(mut self, replicas: u32, share: u32) -> Self {
        self.found.fleet = Some(Fleet {
            replicas,
            counted_from: "sessions",
            counted: format!("{replicas} replicas counted from the server's sessions"),
            server_max_connections: 100,
            reserved: 3,
            other_connections: 10,
            other_pools: 0,
            user_limit: None,
            grantable: 87,
            share,
        });
        self
    }

    fn with_call_sites(mut self) -> Self {
        let place = |route: &str, share_of_held_pct, mean_held_ms| CallSite {
            route: Some(route.to_owned()),
            caller: "src/app.rs:7".to_owned(),
            label: None,
            share_of_held_pct,
            held_seconds: 60.0,
            checkouts: 1000,
            mean_held_ms,
            mean_busy_ms: None,
            efficiency_pct: None,
        };
        self.found.call_sites = vec![place("/orders", 70.0, 120.0), place("/users", 30.0, 40.0)];
        self.found.statements = vec![StatementShare {
            statement: "SELECT orders".to_owned(),
            share_pct: 90.0,
            seconds: 40.0,
            executions: 4000,
            mean_ms: 10.0,
        }];
        self
    }
}

/// Returns the usual load at all times.
fn usual() -> Learned {
    learned(USUAL)
}

fn total(advice: &Optimization) -> u32 {
    advice.recommended_pool_size.unwrap() + advice.recommended_max_overflow.unwrap()
}

#[test]
fn an_oversized_pool_should_shrink_and_frees_connections() {
    let scene = Scene::new(30, 60, usual()).with_share(3, 28);
    let advice = scene.advice();
    let total = total(&advice);
    assert!((13..=18).contains(&total), "{advice:#?}");
    let fewer = 90 - total;
    scene.assert_says(&[
        "The pool is oversized",
        &format!("Set DB_POOL_SIZE={total} DB_MAX_OVERFLOW=0: this frees {fewer} connections"),
        &format!("{} across all 3 replicas", 3 * fewer),
        "120.0 checkouts/s (100.0 in the busiest five minutes, 20 % headroom), each held 80 ms",
        "the target is 5.0 ms",
    ]);
    assert_eq!(
        advice.paste,
        Some(format!("DB_POOL_SIZE={total} DB_MAX_OVERFLOW=0"))
    );
    let row = |size| advice.predicted.iter().find(|row| row.connections == size);
    assert!(row(total).unwrap().meets_target && !row(total - 1).unwrap().meets_target);
    assert!(row(90).is_some(), "the size in force");
    assert_eq!(advice.evidence.planned_arrivals_per_second, Some(120.0));
    assert_eq!(advice.evidence.learned_from, Some("recent"));
}

#[test]
fn a_pool_that_is_too_small_should_grow() {
    let scene = Scene::new(5, 0, usual());
    let advice = scene.advice();
    assert!(total(&advice) > 10, "{advice:#?}");
    scene.assert_says(&[
        "Overloaded now: within the last minute 100.0 checkouts/s arrived, 160 % of what 5 connections can serve",
        "The pool is too small: with 5 connections, the queue grows without bound (192 % utilization)",
    ]);
    let five = advice.predicted.iter().find(|row| row.connections == 5);
    assert_eq!(five.unwrap().p95_ms, None);
    // Headroom alone makes this one too small.
    let scene = Scene::new(12, 0, usual());
    scene.assert_says(&["The pool is too small: with 12 connections, the p95 wait is"]);
    let text = scene.advice().recommendations.join(" ");
    assert!(!text.contains("Overloaded"), "{text}");
}

#[test]
fn overflow_covers_the_peak_and_the_size_the_usual_load() {
    let mut learned = steady(20.0, HELD);
    learned.busiest = Some(Arc::new(Erlang {
        until: NOW - 7200.0,
        ..USUAL
    }));
    let scene = Scene::new(2, 1, learned);
    let advice = scene.advice();
    let size = advice.recommended_pool_size.unwrap();
    assert!((3..=6).contains(&size), "{advice:#?}");
    assert!((13..=18).contains(&total(&advice)), "{advice:#?}");
    scene.assert_says(&["in the busiest five minutes, 2.0 h ago"]);
    assert_eq!(advice.evidence.learned_from, Some("busiest"));
    let replayed = advice.evidence.replayed.unwrap();
    assert_eq!(replayed.until_seconds_ago, 7200.0);
    assert_eq!(replayed.arrivals_per_second, 100.0);
    // A bad split is reported, because the pool closes connections that the usual load needs.
    let scene = Scene::new(1, total(&advice) - 1, scene.learned);
    scene.assert_says(&["the split does not", &format!("Set DB_POOL_SIZE={size}")]);
}

#[test]
fn a_pool_that_fits_is_kept() {
    let need = total(&Scene::new(1, 0, usual()).advice());
    for size in [need, need + 1] {
        let scene = Scene::new(size, 0, usual());
        let advice = scene.advice();
        assert_eq!(advice.paste, None);
        assert_eq!(total(&advice), need);
        assert_eq!(advice.recommendations.len(), 1, "{advice:#?}");
        scene.assert_says(&["The pool fits its load"]);
    }
}

#[test]
fn an_existing_pool_has_one_size() {
    let mut scene = Scene::new(50, 0, usual());
    scene.asking.overflows = false;
    let advice = scene.advice();
    assert_eq!(advice.recommended_max_overflow, Some(0));
    let paste = format!("max_size({})", advice.recommended_pool_size.unwrap());
    assert_eq!(advice.paste, Some(paste));
}

#[test]
fn too_little_data_is_reported_with_the_missing_amount() {
    let scene = Scene::new(5, 5, young(0.0, 0.0, HELD));
    let advice = scene.advice();
    assert_eq!(
        advice.not_enough_data,
        Some(NotEnoughData {
            seconds_more: 20.0,
            checkouts_more: 1000
        })
    );
    assert_eq!((advice.recommended_pool_size, advice.paste), (None, None));
    assert!(advice.predicted.is_empty() && advice.bottleneck.is_none());
    let evidence = &advice.evidence;
    assert_eq!((evidence.learned_from, evidence.replayed), (None, None));
    assert!(evidence.curve.is_empty());
    scene.assert_says(&["Not enough data: 0 checkouts completed within 0 s"]);

    let scene = Scene::new(5, 5, young(240.0, 4.0, HELD));
    scene.assert_says(&[
        "Not enough data: 960 checkouts completed within 240 s",
        ": 40 checkouts more.",
    ]);
    assert_eq!(scene.advice().not_enough_data.unwrap().seconds_more, 0.0);
}

#[test]
fn the_busier_window_determines_the_load() {
    let busiest = |arrivals| {
        let erlang = Erlang {
            until: NOW - 600.0,
            ..Erlang::new(arrivals, 0.08)
        };
        Some(Arc::new(erlang) as Arc<dyn Forecast>)
    };
    let planned = |learned: Learned| {
        let advice = Scene::new(5, 5, learned).advice();
        let evidence = advice.evidence;
        (evidence.learned_from, evidence.planned_arrivals_per_second)
    };
    let of = |arrivals| Learned {
        busiest: busiest(arrivals),
        ..steady(1.0, HELD)
    };
    // The busiest window has three arrivals per second, the recent one has one.
    assert_eq!(planned(of(3.0)), (Some("busiest"), Some(3.6)));
    assert_eq!(planned(of(0.9)), (Some("recent"), Some(1.2)));
    // After a silence that is too long to learn from, the busiest window is the load.
    let quiet = Learned {
        busiest: busiest(3.0),
        ..young(3600.0, 0.1, HELD)
    };
    assert_eq!(planned(quiet.clone()), (Some("busiest"), Some(3.6)));
    let advice = Scene::new(5, 5, quiet).advice();
    assert_eq!(advice.not_enough_data, None);
    assert!(advice.recommended_pool_size.is_some());
}

#[test]
fn the_saturation_level_and_its_users_are_named_if_no_size_helps() {
    for server in [FLAT_FROM_8, FALLING_FROM_8] {
        let scene = Scene::new(20, 10, learned(server)).with_call_sites();
        let advice = scene.advice();
        assert_eq!(total(&advice), 8, "{advice:#?}");
        let bottleneck = advice.bottleneck.as_ref().unwrap();
        assert_eq!(bottleneck.saturates_at, Some(8));
        scene.assert_says(&[
            "No size meets the target of 5.0 ms",
            "throughput stops growing beyond 8 connections in use, because queries share a resource that 8.0 of them saturate",
            "/orders at src/app.rs:7 (70 %), /users at src/app.rs:7 (30 %)",
            "SELECT orders (90 %, 10.0 ms each)",
        ]);
        let text = advice.recommendations.join(" ");
        assert!(!text.contains("too small"), "{text}");
    }
}

#[test]
fn an_unexplained_load_is_reported_and_changed_in_small_steps() {
    let scene = |connections, watched| {
        let odd = Erlang {
            understood: false,
            watched,
            connections,
            ..USUAL
        };
        Scene::new(connections, 0, learned(odd))
    };
    // The load needs about 15 connections.
    for (connections, total_allowed) in [(8, 10), (40, 30)] {
        let scene = scene(connections, true);
        let advice = scene.advice();
        assert_eq!(total(&advice), total_allowed, "{advice:#?}");
        assert!(!advice.evidence.replayed.unwrap().understood);
        scene.assert_says(&[
            "Change the size in small steps, and measure",
            &format!("near the {connections} connections that were observed"),
        ]);
        let text = advice.recommendations.join(" ");
        assert!(!text.contains("watch_queries"), "{text}");
    }
    scene(8, false).assert_says(&["`watch_queries` measures which part of a hold they take"]);
    let text = Scene::new(8, 0, usual()).advice().recommendations.join(" ");
    assert!(!text.contains("small steps"), "{text}");
}

#[test]
fn a_need_beyond_the_share_has_alternatives() {
    let scene = Scene::new(5, 0, usual())
        .with_share(8, 10)
        .with_call_sites();
    let advice = scene.advice();
    assert_eq!(total(&advice), 10);
    scene.assert_says(&[
        "but the server can grant only 10: max_connections 100, reserved 3, used by others 10, shared by 8 replicas",
        "PgBouncer",
        "shorter on average (now 80 ms) is enough",
        "/orders at src/app.rs:7 uses 70 % of the time",
        "shortening only its holds by",
    ]);
    // No factor is enough for one connection, so none is recommended.
    let storm = steady(100_000.0 / 300.0, Duration::from_secs(60));
    let scene = Scene::new(5, 0, storm).with_share(80, 1).with_call_sites();
    let text = scene.advice().recommendations.join(" ");
    assert!(!text.contains("is enough"), "{text}");
}

#[test]
fn a_pool_that_does_not_fit_is_not_reported_as_fitting() {
    let text = |scene: &Scene| scene.advice().recommendations.join(" ");
    // As many as granted, but too few.
    let granted = Scene::new(6, 0, usual()).with_share(8, 6).with_call_sites();
    granted.assert_says(&[
        "Keep the current size",
        "The load needs",
        "can grant only 6",
    ]);
    assert!(!text(&granted).contains("fits"), "{}", text(&granted));
    // More than granted, and still too few.
    let above = Scene::new(50, 0, usual())
        .with_share(8, 6)
        .with_call_sites();
    above.assert_says(&[
        "larger than its share of the server's connections",
        "frees 44 connections",
    ]);
    assert!(!text(&above).contains("oversized"), "{}", text(&above));
    // More than is useful, and no size is enough.
    let flat = Scene::new(20, 10, learned(FLAT_FROM_8));
    flat.assert_says(&["larger than is useful", "No size meets the target"]);
    let alone = Scene::new(1, 0, usual()).with_share(8, 0);
    alone.assert_says(&["with 1 connection,", "can grant only 0"]);
}

#[test]
fn a_size_that_met_the_target_is_kept_despite_the_prediction() {
    let scene = |connections, queued_p95| {
        let did = Erlang {
            connections,
            queued_p95,
            ..FALLING_FROM_8
        };
        Scene::new(20, 0, learned(did))
    };
    let well = scene(20, 0.0);
    let advice = well.advice();
    assert_eq!((total(&advice), advice.paste), (20, None));
    assert_eq!(advice.recommendations.len(), 1);
    well.assert_says(&[
        "Keep the current size",
        "with 20 connections the measured p95 wait was 0 ms",
    ]);
    scene(20, 0.003).assert_says(&["with 20 connections the measured p95 wait was 3.0 ms"]);
    // A measurement at another size, or one that missed the target, does not count.
    scene(19, 0.0).assert_says(&["No size meets the target", "instead of 20"]);
    scene(20, 0.03).assert_says(&[
        "Overloaded now",
        "No size meets the target",
        "instead of 20",
    ]);
}

/// The target is met while the database is saturated, because the waits are inside the database.
#[test]
fn connections_that_only_move_the_wait_are_reported() {
    let light = Erlang {
        arrivals: 60.0,
        ..FLAT_FROM_8
    };
    let scene = Scene::new(20, 10, learned(light)).with_call_sites();
    let advice = scene.advice();
    assert!(total(&advice) > 8, "{advice:#?}");
    scene.assert_says(&[
        "But throughput stops growing beyond 8 connections in use",
        "they move it out of the pool's queue",
        "Most connection time is used by /orders",
    ]);
}

#[test]
fn another_target_load_or_size_changes_the_advice() {
    let plain = Scene::new(5, 5, usual());
    let asked = |what_if: WhatIf| {
        let mut scene = Scene::new(5, 5, usual());
        scene.asking.what_if = what_if;
        scene.asking.target = what_if.target_p95_ms.map_or(0.005, |millis| millis / 1e3);
        scene
    };
    let twice = asked(WhatIf::new().rate(2.0));
    assert!(total(&twice.advice()) > total(&plain.advice()) + 5);
    twice.assert_says(&["240.0 checkouts/s (100.0 in the busiest five minutes, 20 % headroom, multiplied by 2 as requested)"]);
    let patient = asked(WhatIf::new().target_p95(Duration::from_millis(500)));
    assert!(total(&patient.advice()) < total(&plain.advice()));
    assert_eq!(patient.advice().target_p95_ms, 500.0);
    let asked_for = asked(WhatIf::new().pool_size(20));
    let advice = asked_for.advice();
    assert_eq!(advice.asked.unwrap().connections, 20);
    assert!(advice.predicted.contains(&advice.asked.unwrap()));
    assert_eq!(total(&advice), total(&plain.advice()));
    asked_for.assert_says(&["With 20 connections, the p95 wait is 0 ms at"]);
    asked(WhatIf::new().pool_size(3))
        .assert_says(&["With 3 connections, the queue grows without bound"]);
}

#[test]
fn clients_that_wait_for_responses_are_reported() {
    let workers = Erlang {
        clients: Some(20),
        ..USUAL
    };
    let workers = Scene::new(10, 20, learned(workers));
    assert_eq!(workers.advice().evidence.clients, Some(20));
    workers.assert_says(&["The load comes from 20 clients that each wait for a response"]);
    let others = Scene::new(10, 20, usual()).advice();
    assert_eq!(others.evidence.clients, None);
}

#[test]
fn the_evidence_is_shown_with_finite_numbers_only() {
    let odd = Erlang {
        queued_p95: f64::INFINITY,
        connections: 3,
        ..USUAL
    };
    let advice = Scene::new(5, 5, learned(odd)).advice();
    let json = serde_json::to_value(&advice).unwrap();
    let evidence = &json["evidence"];
    assert_eq!(
        evidence["curve"][0],
        json!({ "connections": 1, "per_second": 12.5 })
    );
    assert_eq!(
        evidence["curve"].as_array().unwrap().len(),
        total(&advice) as usize
    );
    let mut replayed = evidence["replayed"].clone();
    replayed["reproduced_p95_ms"].take();
    assert_eq!(
        replayed,
        json!({
            "checkouts": 20_000,
            "from_seconds_ago": 300.0,
            "until_seconds_ago": 0.0,
            "arrivals_per_second": 100.0,
            "connections": 3,
            "mean_held_ms": 80.0,
            "mean_busy_ms": 20.0,
            "measured_p95_ms": Value::Null,
            "reproduced_p95_ms": Value::Null,
            "understood": true,
        })
    );
    let windows = &evidence["windows"];
    for (window, seconds) in [("last_1m", 60.0), ("last_5m", 300.0), ("last_1h", 3600.0)] {
        assert_eq!(windows[window]["seconds"], seconds);
        assert_eq!(windows[window]["arrivals_per_second"], 100.0);
        assert_eq!(windows[window]["mean_connections_needed"], 8.0);
        assert_eq!(windows[window]["peak_checked_out"], 3);
    }
    assert_eq!(windows["last_1h"]["peak_pending"], 0);
    assert_eq!(windows["last_1m"]["peak_pending"], 0);

    // No connection was returned, so there is no mean.
    let mut silent = young(0.0, 0.0, HELD);
    silent.measured.hour = demand(f64::NAN, f64::NAN, HELD);
    let json = serde_json::to_value(Scene::new(5, 5, silent).advice()).unwrap();
    let hour = &json["evidence"]["windows"]["last_1h"];
    assert_eq!(
        (&hour["seconds"], &hour["mean_held_ms"]),
        (&json!(0.0), &Value::Null)
    );
    assert_eq!(hour["mean_connections_needed"], Value::Null);
}
