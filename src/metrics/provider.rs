//! The meter providers of the process, each with its instruments.

use std::any::TypeId;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue, global};

use crate::metrics::instruments::Instruments;
use crate::telemetry::scope;

type SharedMeterProvider = Arc<dyn MeterProvider + Send + Sync>;

/// A meter provider.
#[derive(Clone)]
pub(crate) struct Provider {
    meters: SharedMeterProvider,
    /// The type of a provider that the app gave; `None` for the global one.
    given: Option<TypeId>,
}

/// A provider whose instruments exist. They live for as long as the provider, which keeps their callbacks,
/// or as a pool that uses them.
struct Known {
    identity: Identity,
    instruments: Weak<Instruments>,
}

enum Identity {
    /// The address of a provider that was or is the global one.
    Global(Weak<dyn MeterProvider + Send + Sync>),
    /// The type of a provider that the app gave.
    Given(TypeId),
}

static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());

impl Provider {
    pub(crate) fn given<P: MeterProvider + Send + Sync + 'static>(provider: P) -> Self {
        Self {
            meters: Arc::new(provider),
            given: Some(TypeId::of::<P>()),
        }
    }

    pub(super) fn global() -> Self {
        Self {
            meters: global::meter_provider(),
            given: None,
        }
    }

    /// Returns whether both are the global provider, which was not replaced in between.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.meters, &other.meters)
    }

    pub(super) fn meter(&self) -> Meter {
        self.meters.meter_with_scope(scope())
    }

    /// Returns the instruments of the provider, and creates them for its first pool.
    pub(super) fn instruments(&self) -> Arc<Instruments> {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|it| it.instruments.strong_count() > 0);
        let is_new = self.given.is_none() || self.is_new();
        let mut same = known.iter().filter(|it| match (&it.identity, self.given) {
            (Identity::Global(of), None) => {
                std::ptr::addr_eq(of.as_ptr(), Arc::as_ptr(&self.meters))
            }
            (Identity::Given(of), Some(kind)) => !is_new && *of == kind,
            _ => false,
        });
        // With several given providers of one type it is unknown which one this is.
        if let (Some(same), None) = (same.next(), same.next())
            && let Some(instruments) = same.instruments.upgrade()
        {
            return instruments;
        }
        let instruments = Instruments::new(&self.meter());
        if is_new {
            known.push(Known {
                identity: self.given.map_or_else(
                    || Identity::Global(Arc::downgrade(&self.meters)),
                    Identity::Given,
                ),
                instruments: Arc::downgrade(&instruments),
            });
        }
        instruments
    }

    /// Returns whether this is the first handle of a given provider, as far as that can be seen.
    ///
    /// The API cannot compare two handles. But the SDK keeps the scope of each meter, and keeps none that
    /// is equal to one that it has. So a scope that is kept is the first of its provider. Its meter has no
    /// instruments and is never exported.
    fn is_new(&self) -> bool {
        let mark: Arc<str> = Arc::from("known");
        let scope = InstrumentationScope::builder(concat!(env!("CARGO_PKG_NAME"), ".provider"))
            .with_attributes([KeyValue::new("state", Arc::clone(&mark))])
            .build();
        drop(self.meters.meter_with_scope(scope));
        Arc::strong_count(&mark) > 1
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::metrics::noop::NoopMeterProvider;
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

    use super::*;

    fn sdk() -> SdkMeterProvider {
        SdkMeterProvider::builder()
            .with_periodic_exporter(InMemoryMetricExporter::default())
            .build()
    }

    /// A type of its own, because other tests give the SDK's provider, too.
    fn wrapped(provider: &SdkMeterProvider) -> Provider {
        struct Wrapped(SdkMeterProvider);
        impl MeterProvider for Wrapped {
            fn meter_with_scope(&self, scope: InstrumentationScope) -> Meter {
                self.0.meter_with_scope(scope)
            }
        }
        Provider::given(Wrapped(provider.clone()))
    }

    #[test]
    fn handles_of_a_given_provider_share_its_instruments() {
        let one = sdk();
        // The provider keeps them while it has no pool.
        let first = Arc::downgrade(&wrapped(&one).instruments());
        assert!(Weak::ptr_eq(
            &first,
            &Arc::downgrade(&wrapped(&one).instruments())
        ));

        let other = sdk();
        let others = wrapped(&other).instruments();
        assert!(!Weak::ptr_eq(&first, &Arc::downgrade(&others)));
        // Neither is taken for the other one.
        for provider in [&one, &other] {
            let again = wrapped(provider).instruments();
            assert!(!Weak::ptr_eq(&first, &Arc::downgrade(&again)));
            assert!(!Arc::ptr_eq(&others, &again));
        }
        drop(one);
        assert_eq!(first.strong_count(), 0);
        assert!(Arc::ptr_eq(&others, &wrapped(&other).instruments()));
    }

    #[test]
    fn a_provider_that_keeps_nothing_is_not_recognized() {
        let noop = || Provider::given(NoopMeterProvider::new()).instruments();
        assert!(!Arc::ptr_eq(&noop(), &noop()));
    }
}
