//! Reads from a `ParameterStatus` whether the session's transactions are read-only.
//!
//! Postgres reports these two parameters since version 14: when a session starts, and when a value
//! changes, before the next `ReadyForQuery`.

/// A parameter that makes transactions read-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadOnlyParameter {
    /// `default_transaction_read_only`.
    Default,
    /// `in_hot_standby`.
    Standby,
}

const NAMES: [(&[u8], ReadOnlyParameter); 2] = [
    (b"default_transaction_read_only", ReadOnlyParameter::Default),
    (b"in_hot_standby", ReadOnlyParameter::Standby),
];

/// One byte more than the longest name.
const LONGEST: usize = 30;

/// Finds the name and the value in the body, which may arrive in pieces.
#[derive(Debug, Default)]
pub(super) struct ParameterStatus {
    name: [u8; LONGEST],
    filled: usize,
    named: bool,
    value: [u8; 3],
    length: usize,
    ended: bool,
}

impl ParameterStatus {
    /// Reads a piece of the body.
    pub(super) fn read(&mut self, piece: &[u8]) {
        for &byte in piece {
            match (self.named, byte) {
                _ if self.ended => return,
                (false, 0) => self.named = true,
                (true, 0) => self.ended = true,
                (false, letter) => keep(&mut self.name, &mut self.filled, letter),
                (true, letter) => keep(&mut self.value, &mut self.length, letter),
            }
        }
    }

    /// Returns the parameter and whether it is on, once all was read and if it is one of the two.
    pub(super) fn read_only(&self) -> Option<(ReadOnlyParameter, bool)> {
        let name = &self.name[..self.filled];
        let (_, parameter) = NAMES.iter().find(|(other, _)| *other == name)?;
        self.ended
            .then_some((*parameter, &self.value[..self.length] == b"on"))
    }
}

fn keep(buffer: &mut [u8], filled: &mut usize, letter: u8) {
    if let Some(place) = buffer.get_mut(*filled) {
        *place = letter;
        *filled += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_parameters_are_found_in_pieces_of_any_size() {
        for (body, expected) in [
            (
                &b"default_transaction_read_only\0on\0"[..],
                Some((ReadOnlyParameter::Default, true)),
            ),
            (
                b"in_hot_standby\0off\0",
                Some((ReadOnlyParameter::Standby, false)),
            ),
            (b"in_hot_standby\0on", None),
            (b"default_transaction_read_only_too\0on\0", None),
            (b"TimeZone\0UTC\0", None),
            (b"\0\0", None),
        ] {
            for size in 1..=body.len() {
                let mut status = ParameterStatus::default();
                body.chunks(size).for_each(|piece| status.read(piece));
                assert_eq!(status.read_only(), expected, "{body:?} by {size}");
            }
        }
    }
}
