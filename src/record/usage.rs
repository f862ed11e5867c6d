//! Records the connection time used, by call site: source line, label and route.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{Hash, Hasher};
use std::ops::Sub;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::time::Instant;

use crate::checkout::Checkout;
use crate::recent::{Marker, Recent, Sum};
use crate::record::clock::nanos;
use crate::record::debt::{Debt, Debts};
use crate::record::ledger::Holder;

/// Maximum number of call sites recorded separately. Further ones share one entry, so that memory and the
/// number of time series are bounded.
const SITES: usize = 1000;

/// How long a reading counts as that of one scrape, because a reader may leave out the first metric.
const SCRAPE: Duration = Duration::from_secs(1);

/// Replaces a source line that must not be shown.
pub(crate) const HIDDEN: &str = "_HIDDEN";

/// Use of the pool by the checkouts of one call site. Times are in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Use {
    pub(crate) checkouts: u64,
    pub(crate) waited: u64,
    pub(crate) held: u64,
    /// The part of [`measured`](Self::measured) in which the database was at work.
    pub(crate) busy: u64,
    /// The part of the time held for which `busy` is known.
    pub(crate) measured: u64,
}

impl Use {
    /// Returns the share of the time held (0 to 1) in which the database was at work; `None` if not
    /// measured.
    pub(crate) fn efficiency(&self) -> Option<f64> {
        (self.measured > 0).then(|| (self.busy as f64 / self.measured as f64).min(1.0))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.checkouts += other.checkouts;
        self.waited += other.waited;
        self.held += other.held;
        self.busy += other.busy;
        self.measured += other.measured;
    }
}

impl Sub for Use {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            checkouts: self.checkouts - before.checkouts,
            waited: self.waited - before.waited,
            held: self.held - before.held,
            busy: self.busy - before.busy,
            measured: self.measured - before.measured,
        }
    }
}

/// A call site: a place in the code that takes connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Site {
    /// Source line, such as `src/orders.rs:41`; `_OTHER` for call sites beyond the bound.
    pub(crate) caller: Arc<str>,
    pub(crate) label: Option<&'static str>,
    pub(crate) route: Option<Arc<str>>,
}

/// A call site by the addresses of its parts, so that it is found without comparing texts. One call site
/// may have several keys. Addresses are not reused: callers and labels are static, and the [`Site`] keeps
/// its route alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SiteKey {
    caller: usize,
    label: (usize, usize),
    route: usize,
}

impl SiteKey {
    pub(super) fn of(holder: &Holder) -> Self {
        Self::new(holder.checkout, holder.route())
    }

    fn new(checkout: Checkout, route: Option<&Arc<str>>) -> Self {
        let text = |text: &str| (text.as_ptr().addr(), text.len());
        Self {
            caller: std::ptr::from_ref(checkout.caller()).addr(),
            label: checkout.label_text().map_or((0, 0), text),
            route: route.map_or(0, |route| text(route).0),
        }
    }

    /// Returns the number of the call site, which does not change. Two call sites may have the same number
    /// by chance.
    pub(super) fn number(&self) -> u16 {
        // Fibonacci hashing; the upper bits are the mixed ones.
        (self.word().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16
    }

    /// Returns all addresses in one word.
    fn word(&self) -> u64 {
        (self.caller ^ self.label.0.rotate_left(21) ^ self.route.rotate_left(42)) as u64
    }
}

impl Hash for SiteKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.word());
    }
}

/// The number of a call site in the record of its pool. One call site may have several, one for each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SiteId(u16);

impl SiteId {
    /// The number of all call sites beyond the bound.
    pub(crate) const OTHER: Self = Self(0);
}

/// What is recorded of one call site.
#[derive(Debug)]
struct Tracked {
    site: Site,
    used: Recent<Use>,
    debts: Debts,
}

impl Tracked {
    fn new(site: Site) -> Self {
        Self {
            site,
            used: Recent::default(),
            debts: Debts::default(),
        }
    }
}

/// Use of one pool by all call sites. The hash function need not resist attacks, because no client can
/// choose an address.
#[derive(Debug)]
pub(crate) struct Usage {
    ids: HashMap<SiteKey, SiteId, FixedState>,
    /// By their numbers. The first one is that of the call sites beyond the bound.
    sites: Vec<Tracked>,
    marker: Marker,
}

/// Use of the pool, with one entry per call site.
pub(crate) type BySite = HashMap<Site, Sum<Use>>;

/// Merges the entries of each call site.
pub(crate) fn by_site(entries: impl IntoIterator<Item = (Site, Sum<Use>)>) -> BySite {
    let mut merged = BySite::new();
    for (site, used) in entries {
        let sum = merged.entry(site).or_default();
        sum.total.add(&used.total);
        sum.recent.add(&used.recent);
    }
    merged
}

/// The usage as the last scrape read it. Four metrics are computed from it and read one after another:
/// the first makes a new reading, and the others use the same.
#[derive(Debug, Default)]
pub(crate) struct Scraped(Mutex<Option<(Instant, Arc<BySite>)>>);

impl Scraped {
    /// Returns the last reading, or makes a new one with `read` if `is_first` or the last one is too old.
    pub(crate) fn read(
        &self,
        is_first: bool,
        now: Instant,
        read: impl FnOnce() -> BySite,
    ) -> Arc<BySite> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, usage)) if !is_first && now.saturating_duration_since(*at) < SCRAPE => {
                Arc::clone(usage)
            }
            _ => {
                let usage = Arc::new(read());
                *last = Some((now, Arc::clone(&usage)));
                usage
            }
        }
    }
}

impl Usage {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            ids: HashMap::default(),
            sites: Vec::new(),
            marker: Marker::new(now),
        }
    }

    /// Returns the number of a call site, which is entered if it is new and the bound is not reached.
    pub(crate) fn id(&mut self, checkout: Checkout, route: Option<&Arc<str>>) -> SiteId {
        let full = self.ids.len() >= SITES;
        match self.ids.entry(SiteKey::new(checkout, route)) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(_) if full => SiteId::OTHER,
            Entry::Vacant(new) => {
                if self.sites.is_empty() {
                    self.sites.push(Tracked::new(Site::other()));
                }
                let id = SiteId(self.sites.len() as u16);
                self.sites.push(Tracked::new(Site::new(checkout, route)));
                *new.insert(id)
            }
        }
    }

    /// Adds a completed hold of this call site.
    pub(crate) fn returned(
        &mut self,
        id: SiteId,
        waited: Duration,
        held: Duration,
        busy: Option<Duration>,
        now: Instant,
    ) {
        self.advance(now);
        let held = nanos(held);
        self.tracked(id).used.total.add(&Use {
            checkouts: 1,
            waited: nanos(waited),
            held,
            busy: busy.map_or(0, nanos),
            measured: if busy.is_some() { held } else { 0 },
        });
    }

    /// Adds what holds of this call site have come to owe in a slot of time.
    pub(crate) fn owes(&mut self, id: SiteId, slot: u64, debt: Debt) {
        self.tracked(id).debts.add(slot, debt);
    }

    fn tracked(&mut self, id: SiteId) -> &mut Tracked {
        &mut self.sites[usize::from(id.0)]
    }

    /// Copies the use by all call sites, so that the caller holds the lock only for the copy. A call
    /// site may occur more than once; see [`by_site`].
    pub(crate) fn read(&mut self, now: Instant) -> Vec<(Site, Sum<Use>)> {
        self.advance(now);
        let used = self.sites.iter();
        let used = used.filter(|tracked| tracked.used.total.checkouts > 0);
        used.map(|tracked| (tracked.site.clone(), tracked.used.read()))
            .collect()
    }

    /// Returns what each call site owes. A call site may occur more than once.
    pub(crate) fn debts(&self) -> impl Iterator<Item = (&Site, &Debts)> {
        let sites = self.sites.iter().enumerate();
        let is_used = |index: usize, debts: &Debts| index > 0 || !debts.are_empty();
        sites
            .filter(move |(index, tracked)| is_used(*index, &tracked.debts))
            .map(|(_, tracked)| (&tracked.site, &tracked.debts))
    }

    /// Returns the call site with this number.
    pub(crate) fn site(&self, id: SiteId) -> &Site {
        &self.sites[usize::from(id.0)].site
    }

    /// Returns the call sites by their numbers in the history. If several have the same number, returns
    /// one of them.
    pub(crate) fn places(&self) -> HashMap<u16, Site> {
        let ids = self.ids.iter();
        ids.map(|(key, id)| (key.number(), self.site(*id).clone()))
            .collect()
    }

    fn advance(&mut self, now: Instant) {
        let all = self.sites.iter_mut().map(|tracked| &mut tracked.used);
        self.marker.advance(now, all);
    }
}

/// Hides the source lines, and merges the call sites with the same label and route.
pub(crate) fn without_callers(sites: BySite) -> BySite {
    let sites = sites.into_iter();
    by_site(sites.map(|(site, used)| (site.without_caller(), used)))
}

impl Site {
    /// Returns `/orders at src/orders.rs:41 (label)`, without the parts that are unknown or hidden.
    pub(crate) fn name(&self) -> String {
        let (route, label) = (self.route.as_deref(), self.label);
        if &*self.caller == HIDDEN {
            return match (route, label) {
                (Some(route), Some(label)) => format!("{route} ({label})"),
                (Some(only), None) | (None, Some(only)) => only.to_owned(),
                (None, None) => "call sites without label and route".to_owned(),
            };
        }
        let route = route.map(|route| format!("{route} at "));
        let label = label.map(|label| format!(" ({label})"));
        format!(
            "{}{}{}",
            route.unwrap_or_default(),
            self.caller,
            label.unwrap_or_default()
        )
    }

    /// Returns this call site without its source line.
    fn without_caller(self) -> Self {
        Self {
            caller: Arc::from(HIDDEN),
            ..self
        }
    }

    /// Returns this call site, without its source line unless source lines are shown.
    pub(crate) fn shown(self, source_lines: bool) -> Self {
        match source_lines {
            true => self,
            false => self.without_caller(),
        }
    }

    pub(crate) fn new(checkout: Checkout, route: Option<&Arc<str>>) -> Self {
        let caller = checkout.caller();
        Self {
            caller: Arc::from(format!("{}:{}", caller.file(), caller.line())),
            // Prometheus treats an empty label as absent.
            label: checkout.label_text().filter(|label| !label.is_empty()),
            route: route.cloned(),
        }
    }

    fn other() -> Self {
        Self {
            caller: Arc::from("_OTHER"),
            label: None,
            route: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    impl Usage {
        fn hold(
            &mut self,
            checkout: Checkout,
            route: Option<&Arc<str>>,
            held: Duration,
            busy: Option<Duration>,
            now: Instant,
        ) {
            let id = self.id(checkout, route);
            self.returned(id, SECOND, held, busy, now);
        }
    }

    #[test]
    fn a_call_site_with_several_addresses_is_merged() {
        let (now, mut usage) = (Instant::now(), Usage::new(Instant::now()));
        let checkout = Checkout::new();
        let (one, same): (Arc<str>, Arc<str>) = (Arc::from("/users"), Arc::from("/users"));
        usage.hold(checkout, Some(&one), 4 * SECOND, Some(SECOND), now);
        usage.hold(checkout, Some(&same), 4 * SECOND, None, now);
        usage.hold(checkout, None, SECOND, None, now);
        usage.hold(checkout.label("nightly"), None, SECOND, None, now);
        let read = by_site(usage.read(now));
        assert_eq!(read.len(), 3);
        let users = read
            .iter()
            .find(|(site, _)| site.route.is_some())
            .unwrap()
            .1;
        assert_eq!(
            (users.total.checkouts, users.total.held),
            (2, nanos(8 * SECOND))
        );
        assert_eq!(users.total.efficiency(), Some(0.25));
        let later = by_site(usage.read(now + Duration::from_secs(3600)));
        assert!(later.values().all(|used| used.recent == Use::default()));
        assert!(later.values().all(|used| used.total.checkouts > 0));
    }

    #[test]
    fn a_scrape_reads_the_usage_once() {
        let (scraped, now) = (Scraped::default(), Instant::now());
        let mut reads = 0;
        let mut read = |is_first, now| {
            scraped.read(is_first, now, || {
                reads += 1;
                BySite::new()
            });
            reads
        };
        assert_eq!([true, false, false].map(|first| read(first, now)), [1; 3]);
        assert_eq!([true, false, false].map(|first| read(first, now)), [2; 3]);
        assert_eq!(
            read(false, now + SCRAPE),
            3,
            "a scrape without the first metric"
        );
    }

    #[test]
    fn the_number_of_call_sites_is_bounded() {
        let (now, mut usage) = (Instant::now(), Usage::new(Instant::now()));
        for number in 0..2 * SITES {
            let route = Arc::from(format!("/{number}"));
            usage.hold(Checkout::new(), Some(&route), SECOND, None, now);
        }
        let read = by_site(usage.read(now));
        assert_eq!(read.len(), SITES + 1);
        let other = &read[&Site::other()];
        assert_eq!(other.total.checkouts as usize, SITES);
    }
}
