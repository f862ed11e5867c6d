//! The effect of halving the holds of the call site to blame for most waiting.

use serde::Serialize;

use super::predicted::finite;
use super::sentences::connections;
use super::sizes::Demand;
use crate::record::blame::Owed;
use crate::record::debt::Over;
use crate::record::recorder::Recorder;

/// Shorter waits are not worth a sentence, in seconds.
const NOTHING: f64 = 5e-5;

/// The call site whose holds owe most within the last five minutes.
#[derive(Debug, Clone)]
pub(super) struct BlamedPlaces {
    pub(super) call_site: String,
    /// Its numbers in the history.
    pub(super) places: Vec<u16>,
}

impl BlamedPlaces {
    /// Returns `None` if nobody queued.
    pub(super) fn read(recorder: &Recorder, source_lines: bool) -> Option<Self> {
        let [owing] = recorder.owing([Over::FiveMinutes]);
        let owing = owing.sites.into_iter();
        let (site, debt) = owing.max_by_key(|(_, debt)| debt.owed)?;
        let places = recorder.state().usage.places();
        let own = places.into_iter().filter(|(_, other)| *other == site);
        let places: Vec<u16> = own.map(|(number, _)| number).collect();
        (debt.owed > Owed::ZERO && !places.is_empty()).then(|| Self {
            call_site: site.shown(source_lines).name(),
            places,
        })
    }
}

/// The predicted effect of halving the holds of the call site to blame for most waiting, and of more
/// connections, on the recent load.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HalvedHolds {
    /// The call site: `/report at src/report.rs:33`.
    pub call_site: String,
    /// How much less all checkouts would queue in sum if its holds were half as long, in percent. `null` if
    /// more arrives now than can be served, and in `ends_overload` whether that would end.
    pub cut_pct: Option<f64>,
    /// Whether it would end an overload.
    pub ends_overload: bool,
    /// A number of further connections, to compare with.
    pub more_connections: u32,
    /// How much less all checkouts would queue in sum with these, in percent; `null` as for `cut_pct`.
    pub more_connections_cut_pct: Option<f64>,
}

impl HalvedHolds {
    /// Predicts the effect with `now` connections. Compares it with those up to the recommended number, or
    /// with a fourth more. Returns `None` if nobody is predicted to queue.
    pub(super) fn predict(
        blamed: &BlamedPlaces,
        recent: Demand<'_>,
        now: u32,
        recommended: u32,
    ) -> Option<Self> {
        let more = match recommended.checked_sub(now) {
            None | Some(0) => now.div_ceil(4),
            Some(more) => more,
        };
        let mean = recent.at(now).mean;
        if mean < NOTHING {
            return None;
        }
        let halved = recent.halved(&blamed.places, now).mean;
        let grown = recent.at(now.saturating_add(more)).mean;
        let cut = |to: f64| finite((1.0 - to / mean) * 100.0, 1).filter(|_| mean.is_finite());
        Some(Self {
            call_site: blamed.call_site.clone(),
            cut_pct: cut(halved),
            ends_overload: mean.is_infinite() && halved.is_finite(),
            more_connections: more,
            more_connections_cut_pct: cut(grown),
        })
    }

    pub(super) fn sentence(&self) -> Option<String> {
        let halving = format!("Halving the holds of {}", self.call_site);
        if self.ends_overload {
            return Some(format!("{halving} would end the overload."));
        }
        let cut = self.cut_pct?;
        let more = self.more_connections_cut_pct.map(|more| {
            format!(
                "; {} more would cut it by {more:.0} %",
                connections(self.more_connections)
            )
        });
        Some(format!(
            "{halving} would cut the waiting by {cut:.0} %{}.",
            more.unwrap_or_default()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::erlang::Erlang;
    use super::*;

    fn predict(arrivals: f64, now: u32, recommended: u32) -> Option<HalvedHolds> {
        let load = Erlang::new(arrivals, 0.1);
        let recent = Demand {
            forecast: &load,
            times: 1.0,
        };
        let blamed = BlamedPlaces {
            call_site: "/report at src/report.rs:33".to_owned(),
            places: vec![1],
        };
        HalvedHolds::predict(&blamed, recent, now, recommended)
    }

    #[test]
    fn the_effect_is_compared_with_more_connections() {
        // Erlang C: 7.5 of 8 connections, or half of that load.
        let effect = predict(75.0, 8, 11).unwrap();
        assert_eq!((effect.more_connections, effect.ends_overload), (3, false));
        let (cut, more) = (
            effect.cut_pct.unwrap(),
            effect.more_connections_cut_pct.unwrap(),
        );
        assert!(cut > more && more > 80.0 && cut < 100.0, "{effect:?}");
        let text = effect.sentence().unwrap();
        assert_eq!(
            text,
            format!(
                "Halving the holds of /report at src/report.rs:33 would cut the waiting by {cut:.0} %; 3 connections more would cut it by {more:.0} %."
            )
        );
        // The recommended number is not larger: a fourth more.
        assert_eq!(predict(75.0, 8, 8).unwrap().more_connections, 2);
        assert_eq!(predict(75.0, 8, 2).unwrap().more_connections, 2);
    }

    #[test]
    fn an_overload_has_no_percentage() {
        let effect = predict(100.0, 8, 12).unwrap();
        assert_eq!(
            (effect.cut_pct, effect.more_connections_cut_pct),
            (None, None)
        );
        assert!(
            effect
                .sentence()
                .unwrap()
                .ends_with("would end the overload.")
        );
        let beyond = predict(1000.0, 8, 12).unwrap();
        assert_eq!((beyond.ends_overload, beyond.sentence()), (false, None));
    }

    #[test]
    fn without_waits_there_is_nothing_to_say() {
        assert_eq!(predict(1.0, 8, 2), None);
    }
}
