//! Implements the reports' [`Source`] for each kind of pool. This module depends on every layer below.

use std::sync::{Arc, LazyLock};

use diesel_async::pooled_connection::AsyncDieselConnectionManager;

use super::stack::Stack;
use crate::admit::Admit;
use crate::backend::Backend;
use crate::connection::{Managed, PoolService};
use crate::record::inventory::Inventory;
use crate::report::{Configuration, Source, SourceFacts};
use crate::settings::Settings;

impl<C: Backend> Source for Stack<C> {
    fn facts(&self) -> SourceFacts {
        let (service, settings) = (self.admit.get_ref(), &self.built.settings);
        let counts = service.counts();
        SourceFacts {
            kind: C::KIND,
            monitor: Arc::clone(service.monitor()),
            configuration: Configuration {
                pool_size: counts.pool_size,
                max_overflow: counts.max_overflow,
                pool_timeout: Some(settings.pool_timeout.as_secs_f64()),
                pool_recycle: Some(settings.pool_recycle.map_or(-1.0, |age| age.as_secs_f64())),
                pool_pre_ping: Some(settings.pool_pre_ping),
            },
            connections: Some(service.policy().policy.connections()),
            settings: Arc::clone(settings),
            overflows: true,
            source_lines: true,
        }
    }
}

/// Reports on any source behind a gate that the app added.
impl<S: Source> Source for Admit<S> {
    fn facts(&self) -> SourceFacts {
        let mut facts = self.get_ref().facts();
        facts.configuration.pool_timeout = Some(self.gate().timeout().as_secs_f64());
        facts
    }
}

/// The settings of an existing pool, which has none of ours.
static DEFAULTS: LazyLock<Arc<Settings>> = LazyLock::new(|| Arc::new(Settings::new("")));

/// Reports on an existing bb8 pool. bb8 provides the size and the timeouts; the rest is unknown.
impl<C: Backend> Source for PoolService<AsyncDieselConnectionManager<C>>
where
    AsyncDieselConnectionManager<C>: Managed<Diesel = C>,
{
    fn facts(&self) -> SourceFacts {
        let config = self.get_ref().config();
        SourceFacts {
            kind: C::KIND,
            monitor: Arc::clone(self.monitor()),
            configuration: Configuration {
                pool_size: self.counts().pool_size,
                max_overflow: 0,
                pool_timeout: Some(config.connection_timeout.as_secs_f64()),
                pool_recycle: Some(config.max_lifetime.map_or(-1.0, |age| age.as_secs_f64())),
                pool_pre_ping: Some(config.test_on_check_out),
            },
            connections: None,
            settings: Arc::clone(&DEFAULTS),
            overflows: false,
            source_lines: true,
        }
    }
}
