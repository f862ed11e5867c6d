//! What a pool does with a request that waits for a connection while it holds one.

/// What a pool does with a nested checkout: a request asks for a connection while it holds one, and the
/// pool is full. Such a request waits for itself if it keeps the first connection meanwhile.
///
/// It is set by [`PoolBuilder::nested_checkouts`](crate::PoolBuilder::nested_checkouts), or by
/// `nested_checkouts` in a config file as `off`, `warn` or `deny`.
///
/// ```
/// use poolscope::Settings;
/// use poolscope::settings::NestedCheckouts;
///
/// let mut settings = Settings::new("sqlite://app.db");
/// assert_eq!(settings.nested_checkouts, NestedCheckouts::Warn);
/// settings.nested_checkouts = NestedCheckouts::Deny;
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NestedCheckouts {
    /// It waits like any other checkout, and nothing says so.
    Off,
    /// It waits. The log, `health` and the error of a timeout say that the request already holds a
    /// connection, and where it was taken. The default.
    Warn,
    /// It fails at once with [`Rejection::Nested`](crate::error::Rejection::Nested). Requires a
    /// [`RequestLayer`](crate::RequestLayer); without one it is as [`Warn`](Self::Warn), because a task
    /// or a trace may do several things at a time.
    Deny,
}

impl NestedCheckouts {
    pub(super) const EXPECTED: &str = "off, warn or deny";

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Deny => "deny",
        }
    }

    pub(super) fn find(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "off" => Some(Self::Off),
            "warn" => Some(Self::Warn),
            "deny" => Some(Self::Deny),
            _ => None,
        }
    }
}
