//! The header of a message, which may arrive in pieces.

/// The error of bytes that are not valid in the Postgres protocol.
#[derive(Debug)]
pub(super) struct Nonsense;

/// The longest message: the limit of a `StringInfo` in the server.
pub(super) const LONGEST: u32 = 1 << 30;
/// libpq's limit for message types that are never long. libpq, too, treats a longer one as garbage.
pub(super) const LONGEST_SHORT: u32 = 30_000;

/// Returns the length of the body. The length in a header includes its own four bytes.
pub(super) fn body_length(length: u32, shortest: u32, longest: u32) -> Result<u32, Nonsense> {
    if length < 4 + shortest || length > longest {
        return Err(Nonsense);
    }
    Ok(length - 4)
}

/// Skips the part of the body that has arrived.
pub(super) fn skip(bytes: &mut &[u8], body: &mut u32) {
    let here = bytes.len().min(*body as usize);
    *bytes = &bytes[here..];
    *body -= here as u32;
}

/// Collects the bytes of a header that may arrive in pieces.
#[derive(Debug, Default)]
pub(super) struct Header {
    bytes: [u8; 8],
    filled: usize,
}

impl Header {
    /// Returns the next `N` bytes if they have all arrived. Otherwise keeps those that have.
    #[inline]
    pub(super) fn take<const N: usize>(&mut self, bytes: &mut &[u8]) -> Option<[u8; N]> {
        if self.filled == 0
            && let Some((whole, rest)) = bytes.split_first_chunk::<N>()
        {
            *bytes = rest;
            return Some(*whole);
        }
        let here = bytes.len().min(N - self.filled);
        let (piece, rest) = bytes.split_at(here);
        self.bytes[self.filled..self.filled + here].copy_from_slice(piece);
        self.filled += here;
        *bytes = rest;
        if self.filled < N {
            return None;
        }
        self.filled = 0;
        self.bytes.first_chunk().copied()
    }
}
