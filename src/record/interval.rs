//! The data of a period: what is written to, and what is kept of it.

use crate::checkout::wait_phase::Phases;
use crate::record::histogram::{Histogram, Packed};
use crate::record::traffic::Traffic;

/// The data of the current second, or of a whole window.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interval {
    pub(crate) traffic: Traffic,
    pub(crate) wait: Histogram,
    pub(crate) held: Histogram,
    pub(crate) create: Histogram,
    /// Waits by phase, of the checkouts that waited in it; `None` if no checkout waited or the phases
    /// are unknown.
    pub(crate) phases: Option<Box<[Histogram; 3]>>,
}

/// An interval that has ended, in the memory that its values need.
#[derive(Debug)]
pub(super) struct Slot {
    traffic: Traffic,
    wait: Packed,
    held: Packed,
    create: Packed,
    phases: Option<Box<[Packed; 3]>>,
}

impl Interval {
    /// Adds the data of a slot.
    pub(super) fn merge(&mut self, slot: &Slot) {
        self.traffic.add(&slot.traffic);
        self.wait.merge(&slot.wait);
        self.held.merge(&slot.held);
        self.create.merge(&slot.create);
        if let Some(phases) = &slot.phases {
            let merged = self.phases.get_or_insert_default();
            for (into, from) in merged.iter_mut().zip(phases.iter()) {
                into.merge(from);
            }
        }
    }

    /// Ends the interval: returns its data, and empties it. Keeps its memory. `None` if nothing has
    /// happened and no connection was in use.
    pub(super) fn end(&mut self) -> Option<Box<Slot>> {
        let phases = self.phases.as_deref();
        let waited = phases.is_some_and(|phases| phases.iter().any(|phase| phase.count() > 0));
        let slot = Slot {
            traffic: self.traffic,
            wait: self.wait.pack(),
            held: self.held.pack(),
            create: self.create.pack(),
            phases: phases
                .filter(|_| waited)
                .map(|phases| Box::new(phases.each_ref().map(Histogram::pack))),
        };
        let created = slot.create.count() > 0;
        let is_idle = slot.traffic().is_idle() && !created;
        self.clear();
        (!is_idle).then(|| Box::new(slot))
    }

    fn clear(&mut self) {
        self.traffic = Traffic::default();
        let phases = self.phases.iter_mut().flat_map(|phases| phases.iter_mut());
        [&mut self.wait, &mut self.held, &mut self.create]
            .into_iter()
            .chain(phases)
            .for_each(Histogram::clear);
    }

    /// Records the phases of a checkout's wait.
    pub(crate) fn waited_in(&mut self, phases: &Phases) {
        let histograms = self.phases.get_or_insert_default();
        for (phase, time) in phases.spent() {
            histograms[phase as usize].record(time);
        }
    }

    /// Sets the peak of the arrivals of a single second.
    pub(super) fn peaked(&mut self) -> &Self {
        self.traffic.peak_arrivals = self.traffic.arrivals;
        self
    }

    /// Returns the traffic with the connections returned.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            returned: self.held.count(),
            held: self.held.sum(),
            ..self.traffic
        }
    }
}

impl Slot {
    /// Returns the traffic with the connections returned.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            returned: self.held.count(),
            held: self.held.sum(),
            ..self.traffic
        }
    }
}
