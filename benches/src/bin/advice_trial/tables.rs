//! The tables that compare predictions with measurements and targets.

use std::time::Duration;

use poolscope_benches::report::{Targets, ms, note, percent, table};

use super::demand::Demand;
use super::measured::Measured;
use super::sweep::Sweep;
use super::verdict::{GOOD, TARGET, error, median_error, misses_allowed, repeatability};

/// An empty value.
const NOTHING: &str = "—";

pub(crate) fn print(sweeps: &[Sweep]) {
    goals(sweeps);
    let met = format!("smallest size with a p95 of at most {}", ms(TARGET));
    let columns = &[
        "load",
        "sweep",
        "observed with",
        "recommended size",
        met.as_str(),
        "median error of p95",
        "overloads predicted",
    ];
    let rows: Vec<_> = sweeps.iter().map(summary).collect();
    table("Sweeps", columns, &rows);
    agreement(sweeps);
    for sweep in sweeps {
        details(sweep);
    }
}

fn goals(sweeps: &[Sweep]) {
    let mut targets = Targets::default();
    let missed = sweeps.iter().filter(|sweep| !sweep.within_one()).count();
    targets.add(
        "sweeps in which the recommended size is within one connection of the smallest that met the target",
        "19 of 20",
        format!("{} of {}", sweeps.len() - missed, sweeps.len()),
        missed <= misses_allowed(sweeps.len()),
    );
    let mut names: Vec<_> = sweeps.iter().map(|sweep| sweep.load.name).collect();
    names.dedup();
    let mut add = |what: String, error: Option<f64>| {
        let met = error.is_some_and(|error| error <= GOOD);
        targets.add(what, format!("<= {:.0} %", GOOD * 100.0), shown(error), met);
    };
    for name in names {
        let of_load = sweeps.iter().filter(|sweep| sweep.load.name == name);
        add(
            format!("{name}: median error of the predicted p95"),
            median_error(of_load),
        );
    }
    add(
        "all loads: median error of the predicted p95".to_owned(),
        median_error(sweeps.iter()),
    );
    targets.print("Goals");
}

/// The agreement of two measurements of the same load.
fn agreement(sweeps: &[Sweep]) {
    let mut rows = Vec::new();
    for of_load in sweeps.chunk_by(|a, b| a.load.name == b.load.name) {
        let all: Vec<_> = of_load.iter().collect();
        if let Some(difference) = repeatability(&all) {
            let name = of_load[0].load.name.to_owned();
            rows.push(vec![name, percent(difference)]);
        }
    }
    if !rows.is_empty() {
        let columns = &["load", "median difference between the p95 of two sweeps"];
        table("Repeatability", columns, &rows);
    }
}

fn summary(sweep: &Sweep) -> Vec<String> {
    let connections =
        |size: Option<u32>, none: &str| size.map_or(none.to_owned(), |it| it.to_string());
    let (predicted, overloads) = sweep.overloads();
    vec![
        sweep.load.name.to_owned(),
        sweep.number.to_string(),
        sweep.load.observed.to_string(),
        connections(sweep.advice.recommended, "not enough data"),
        connections(sweep.smallest(), "none"),
        shown(median_error(std::iter::once(sweep))),
        if overloads == 0 {
            NOTHING.to_owned()
        } else {
            format!("{predicted} of {overloads}")
        },
    ]
}

fn details(sweep: &Sweep) {
    let heading = match sweep.number {
        1 => sweep.load.name.to_owned(),
        number => format!("{}, sweep {number}", sweep.load.name),
    };
    let columns = &[
        "connections",
        "predicted p95",
        "measured p95",
        "error",
        "predicted share that waits",
        "measured share that waits",
        "predicted utilization",
        "connections beyond the data",
    ];
    let rows: Vec<_> = sweep.measured.iter().map(|it| row(sweep, it)).collect();
    table(&heading, columns, &rows);
    let demand = match sweep.demand {
        Demand::Open { rate, .. } => format!("{rate:.0} arrivals per second on average"),
        Demand::Closed(clients) => format!("{} clients", clients.number),
    };
    let rounds = match sweep.rounds {
        1 => String::new(),
        rounds => format!(", in {rounds} rounds; the prediction is the median over the rounds"),
    };
    note(format!(
        "{}. There are {demand}. The load was observed with {} connections{rounds}.",
        sweep.load.about, sweep.load.observed,
    ));
}

fn row(sweep: &Sweep, measured: &Measured) -> Vec<String> {
    let predicted = sweep.predicted(measured);
    let shown_pct = |pct: Option<f64>| pct.map_or(NOTHING.to_owned(), |pct| percent(pct / 100.0));
    vec![
        measured.connections.to_string(),
        predicted.map_or(NOTHING.to_owned(), |it| wait(it.p95)),
        if measured.overload {
            format!("overload ({})", wait(Some(measured.p95)))
        } else {
            wait(Some(measured.p95))
        },
        match predicted.and_then(|it| error(measured, it)) {
            Some(error) if error.is_finite() => format!("{:+.0} %", error * 100.0),
            Some(_) => "overload predicted, but not measured".to_owned(),
            None => String::new(),
        },
        shown_pct(predicted.and_then(|it| it.queueing_pct)),
        percent(measured.waiting),
        shown_pct(predicted.and_then(|it| it.utilization_pct)),
        predicted.map_or(NOTHING.to_owned(), |it| it.beyond_data.to_string()),
    ]
}

fn wait(p95: Option<Duration>) -> String {
    match p95 {
        None => "overload".to_owned(),
        Some(Duration::ZERO) => "0".to_owned(),
        Some(p95) => ms(p95),
    }
}

fn shown(error: Option<f64>) -> String {
    match error {
        None => NOTHING.to_owned(),
        Some(error) if error.is_finite() => percent(error),
        Some(_) => "overload predicted, but not measured".to_owned(),
    }
}
