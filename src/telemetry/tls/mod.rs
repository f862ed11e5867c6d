//! Whether and how the way to the receiver is encrypted.

#[cfg(not(feature = "tls"))]
mod disabled;
#[cfg(feature = "tls")]
mod enabled;

#[cfg(not(feature = "tls"))]
pub(super) use self::disabled::Encryption;
#[cfg(feature = "tls")]
pub(super) use self::enabled::Encryption;

use super::variables::Set;

/// The files that variables name.
#[derive(Debug, Clone, Default)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "nothing is encrypted without it")
)]
pub(super) struct Files {
    /// Whom to trust, instead of the public authorities.
    pub(super) roots: Option<Set>,
    /// Who we are, where the receiver asks.
    pub(super) client_chain: Option<Set>,
    pub(super) client_key: Option<Set>,
}

/// Why encrypting is not possible.
#[derive(Debug)]
pub(super) struct Trouble {
    /// The variable whose file it is about; none where it is the build.
    pub(super) file: Option<Set>,
    pub(super) expected: String,
    pub(super) hint: Option<String>,
}
