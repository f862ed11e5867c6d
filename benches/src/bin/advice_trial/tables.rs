//! The tables: what was predicted beside what was measured, and what was to be reached.

use std::time::Duration;

use poolscope_benches::report::{Targets, ms, note, percent, table};

use super::Sweep;
use super::measured::Measured;
use super::verdict::{error, median_error};

/// What a table has where there is nothing to tell.
const NOTHING: &str = "—";

pub(crate) fn print(sweeps: &[Sweep]) {
    reached(sweeps);
    let columns = &[
        "load",
        "sweep",
        "observed at",
        "recommended",
        "smallest that met 5 ms",
        "median error of p95",
        "overload predicted",
    ];
    let rows: Vec<_> = sweeps.iter().map(summary).collect();
    table("Each sweep", columns, &rows);
    for sweep in sweeps {
        details(sweep);
    }
}

fn reached(sweeps: &[Sweep]) {
    let mut targets = Targets::default();
    let within = sweeps.iter().filter(|sweep| sweep.within_one()).count();
    targets.add(
        "sweeps whose recommended size is within one connection of the smallest that met the target",
        "nine of ten",
        format!("{within} of {}", sweeps.len()),
        within * 10 >= sweeps.len() * 9,
    );
    let mut names: Vec<_> = sweeps.iter().map(|sweep| sweep.load.name).collect();
    names.dedup();
    let mut add = |what: String, error: Option<f64>| {
        let met = error.is_some_and(|error| error <= 0.2);
        targets.add(what, "<= 20 %", shown(error), met);
    };
    for name in names {
        let of_load = sweeps.iter().filter(|sweep| sweep.load.name == name);
        add(
            format!("median error of the predicted p95, {name}"),
            median_error(of_load),
        );
    }
    add(
        "the same, all loads".to_owned(),
        median_error(sweeps.iter()),
    );
    targets.print("What was to be reached");
}

fn summary(sweep: &Sweep) -> Vec<String> {
    let connections =
        |size: Option<u32>, none: &str| size.map_or(none.to_owned(), |it| it.to_string());
    let (said, overloads) = sweep.overloads();
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
            format!("{said} of {overloads}")
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
        "p95 predicted",
        "p95 measured",
        "error",
        "waiting predicted",
        "waiting measured",
        "utilization predicted",
        "levels beyond the data",
    ];
    let rows: Vec<_> = sweep.measured.iter().map(|it| row(sweep, it)).collect();
    table(&heading, columns, &rows);
    note(format!(
        "{}: {:.0} arrivals a second on average. Observed with {} connections{}.",
        sweep.load.about,
        sweep.rate,
        sweep.load.observed,
        match sweep.load.rounds {
            1 => String::new(),
            rounds => format!(", in {rounds} rounds: the median of what each predicts"),
        },
    ));
}

fn row(sweep: &Sweep, measured: &Measured) -> Vec<String> {
    let predicted = sweep.predicted(measured);
    let told = |pct: Option<f64>| pct.map_or(NOTHING.to_owned(), |pct| percent(pct / 100.0));
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
            Some(_) => "no overload".to_owned(),
            None => String::new(),
        },
        told(predicted.and_then(|it| it.queueing_pct)),
        percent(measured.waiting),
        told(predicted.and_then(|it| it.utilization_pct)),
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
        Some(_) => "overload predicted where there was none".to_owned(),
    }
}
