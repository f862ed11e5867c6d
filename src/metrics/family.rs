//! The description of a metric, and the functions that read its series.

use opentelemetry::KeyValue;

use crate::record::buckets::Buckets;
use crate::record::recorder::Recorder;

/// A metric: its name, unit and description, and how to read it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) description: &'static str,
    pub(crate) kind: Kind,
}

/// The kind of a metric, and the function that reads it. The function passes all attributes but the
/// pool's name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A count that goes up and down and can be summed over pools.
    UpDown(Read),
    /// A value whose sum over pools has no meaning.
    Gauge(Read),
    /// A count, or a sum of seconds, that only grows.
    Counter(Read),
    /// Values recorded as they occur, counted in buckets with these boundaries.
    Histogram(&'static [f64], ReadBuckets),
}

/// Reads all series of a metric, and passes each one's value and attributes to the callback.
pub(crate) type Read = fn(&Recorder, Emit<'_>);
pub(crate) type Emit<'a> = &'a mut dyn FnMut(f64, &[KeyValue]);
/// Reads all series of a histogram, like [`Read`].
pub(crate) type ReadBuckets = fn(&Recorder, EmitBuckets<'_>);
pub(crate) type EmitBuckets<'a> = &'a mut dyn FnMut(&Buckets, &[KeyValue]);
