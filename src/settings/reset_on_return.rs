/// When to reset the session of a returned connection, so that nothing of one borrower reaches the
/// next. Set by [`Settings::reset_on_return`](super::Settings::reset_on_return).
///
/// ```
/// use poolscope::Settings;
/// use poolscope::settings::ResetOnReturn;
///
/// let mut settings = Settings::new("postgres://localhost/shop");
/// assert_eq!(settings.reset_on_return, ResetOnReturn::WhenDirty);
/// settings.reset_on_return = ResetOnReturn::Never;
/// ```
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResetOnReturn {
    /// Never. Session state reaches the next borrower.
    Never,
    /// If a statement of the borrower has changed the session. A clean connection costs no round trip.
    /// The default.
    WhenDirty,
    /// At every return.
    Always,
}

impl ResetOnReturn {
    pub(super) const EXPECTED: &str = "never, when_dirty or always";

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::WhenDirty => "when_dirty",
            Self::Always => "always",
        }
    }

    pub(super) fn find(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "never" => Some(Self::Never),
            "when_dirty" => Some(Self::WhenDirty),
            "always" => Some(Self::Always),
            _ => None,
        }
    }
}
