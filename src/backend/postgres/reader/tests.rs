//! Tests the reader on valid streams that are split anywhere, and on invalid streams.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::checkout::TransactionState;

/// Returns a message of either side: type, length, body.
pub(in crate::backend::postgres) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&[kind], &length[..], body].concat()
}

/// Returns the packet that opens a session.
pub(in crate::backend::postgres) fn startup() -> Vec<u8> {
    let body = b"user\0app\0\0";
    let length = (body.len() as u32 + 8).to_be_bytes();
    [&length[..], &[0, 3, 0, 0], body].concat()
}

fn error(severity: &str, code: &str) -> Vec<u8> {
    message(
        b'E',
        format!("S{severity}\0V{severity}\0C{code}\0Msomething\0\0").as_bytes(),
    )
}

fn greeting(pid: i32) -> Vec<u8> {
    let key = [&pid.to_be_bytes()[..], b"secr"].concat();
    [
        message(b'R', &[0; 4]),
        message(b'S', b"TimeZone\0UTC\0"),
        message(b'K', &key),
        message(b'Z', b"I"),
    ]
    .concat()
}

/// One command, its answer without the `ReadyForQuery`, and the changes of the readings that the
/// answer causes.
#[derive(Debug, Clone)]
struct Exchange {
    client: Vec<u8>,
    server: Vec<u8>,
    rows: u64,
    error: Option<[u8; 5]>,
    status: u8,
}

fn exchanges() -> impl Strategy<Value = Exchange> {
    let row = prop::collection::vec(any::<u8>(), 0..40);
    let rows = prop::collection::vec(row, 0..6);
    let error = prop::option::of("[0-9A-Z]{5}");
    (
        rows,
        error,
        any::<bool>(),
        prop::sample::select(&b"ITE"[..]),
    )
        .prop_map(|(rows, code, simple, status)| {
            let client = if simple {
                message(b'Q', b"select 1\0")
            } else {
                [
                    message(b'P', b"\0q\0\0\0"),
                    message(b'B', b"\0\0"),
                    message(b'E', b"\0\0\0\0\0"),
                    message(b'S', b""),
                ]
                .concat()
            };
            let mut server = [
                message(b'1', b""),
                message(b'2', b""),
                message(b'T', b"\0\0"),
            ]
            .concat();
            for row in &rows {
                server.extend(message(b'D', row));
                server.extend(message(b'N', b"SNOTICE\0VNOTICE\0CFATAL\0\0"));
            }
            if let Some(code) = &code {
                server.extend(self::error("ERROR", code));
            } else {
                server.extend(message(b'C', b"SELECT 1\0"));
            }
            let rows = rows.len() as u64;
            let error = code.map(|code| code.as_bytes().try_into().unwrap());
            Exchange {
                client,
                server,
                rows,
                error,
                status,
            }
        })
}

/// Feeds the bytes in pieces of the given sizes, which are used repeatedly.
fn in_pieces(bytes: &[u8], sizes: &[usize], mut feed: impl FnMut(&[u8])) {
    let mut sizes = sizes.iter().cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        feed(piece);
        rest = left;
    }
}

fn new_reader() -> (Reader, Arc<Wire>) {
    let wire = Arc::new(Wire::new());
    (Reader::new(Arc::clone(&wire)), wire)
}

/// Returns a reader whose session has begun.
fn ready_reader() -> (Reader, Arc<Wire>) {
    let (mut reader, wire) = new_reader();
    reader.sent(&startup());
    reader.received(&greeting(42));
    (reader, wire)
}

/// All readings from headers, except times.
type Readings = (
    Option<u32>,
    Option<TransactionState>,
    Option<i32>,
    Option<[u8; 5]>,
    Vec<(Option<[u8; 5]>, u64)>,
    bool,
);

/// The SQLSTATE and the rows of each command that is remembered.
fn outcomes(wire: &Wire) -> Vec<(Option<[u8; 5]>, u64)> {
    let sent = wire.sent().unwrap_or_default();
    (1..=sent)
        .filter_map(|number| wire.outcome(number))
        .collect()
}

fn readings(wire: &Wire) -> Readings {
    (
        wire.outstanding(),
        wire.transaction(),
        wire.process_id(),
        wire.last_sqlstate(),
        outcomes(wire),
        wire.is_closed(),
    )
}

proptest! {
    /// Several commands are in flight at once, all but the last few are answered, and every stream
    /// is split anywhere.
    #[test]
    fn a_session_split_anywhere_is_read_correctly(
        pid: i32,
        exchanges in prop::collection::vec(exchanges(), 0..8),
        unanswered in 0usize..4,
        sizes in prop::collection::vec(1usize..30, 1..12),
    ) {
        let (mut reader, wire) = new_reader();
        in_pieces(&startup(), &sizes, |piece| reader.sent(piece));
        prop_assert_eq!(wire.outstanding(), Some(1));
        in_pieces(&greeting(pid), &sizes, |piece| reader.received(piece));
        prop_assert_eq!((wire.outstanding(), wire.process_id()), (Some(0), Some(pid)));

        let client: Vec<u8> = exchanges.iter().flat_map(|exchange| exchange.client.clone()).collect();
        in_pieces(&client, &sizes, |piece| reader.sent(piece));
        prop_assert_eq!(wire.outstanding(), Some(exchanges.len() as u32));

        let answered = &exchanges[..exchanges.len().saturating_sub(unanswered)];
        let mut server = Vec::new();
        for exchange in answered {
            server.extend(&exchange.server);
            server.extend(message(b'Z', &[exchange.status]));
        }
        in_pieces(&server, &sizes, |piece| reader.received(piece));

        let transaction = match answered.last().map_or(b'I', |exchange| exchange.status) {
            b'I' => TransactionState::Idle,
            b'T' => TransactionState::Open,
            _ => TransactionState::Failed,
        };
        // The first command is the start of the session.
        let answers = answered.iter().map(|exchange| (exchange.error, exchange.rows));
        let unanswered = exchanges[answered.len()..].iter().map(|_| (None, 0));
        let expected_outcomes = [(None, 0)].into_iter().chain(answers).chain(unanswered).collect();
        let expected: Readings = (
            Some((exchanges.len() - answered.len()) as u32),
            Some(transaction),
            Some(pid),
            answered.iter().rev().find_map(|exchange| exchange.error),
            expected_outcomes,
            false,
        );
        prop_assert_eq!(readings(&wire), expected);
    }

    /// Arbitrary bytes cause no panic, and the positions at which they are split do not matter.
    #[test]
    fn arbitrary_bytes_do_not_panic(
        begun: bool,
        sent in prop::collection::vec(any::<u8>(), 0..200),
        received in prop::collection::vec(any::<u8>(), 0..200),
        sizes in prop::collection::vec(1usize..20, 1..8),
    ) {
        let make = if begun { ready_reader } else { new_reader };
        let (mut whole, wire_of_whole) = make();
        whole.sent(&sent);
        whole.received(&received);
        whole.sent(&sent);
        let (mut cut, wire_of_cut) = make();
        in_pieces(&sent, &sizes, |piece| cut.sent(piece));
        in_pieces(&received, &sizes, |piece| cut.received(piece));
        in_pieces(&sent, &sizes, |piece| cut.sent(piece));
        let off = wire_of_whole.outstanding().is_none();
        prop_assert_eq!(wire_of_cut.outstanding().is_none(), off);
        if !off {
            prop_assert_eq!(readings(&wire_of_cut), readings(&wire_of_whole));
        }
    }

    /// Garbage after a valid beginning turns all readings to unknown from its first header on,
    /// regardless of what follows.
    #[test]
    fn an_unknown_message_type_makes_all_readings_unknown(
        exchange in exchanges(),
        kind in any::<u8>().prop_filter("a type of the protocol", |kind| !b"RK23CdcGHWDIEVvnNAtS1sZT".contains(kind)),
        rest in prop::collection::vec(any::<u8>(), 4..60),
        sizes in prop::collection::vec(1usize..20, 1..8),
    ) {
        let (mut reader, wire) = ready_reader();
        reader.sent(&exchange.client);
        let bytes = [exchange.server, vec![kind], rest].concat();
        in_pieces(&bytes, &sizes, |piece| reader.received(piece));
        prop_assert!(wire.outstanding().is_none() && wire.transaction().is_none() && wire.process_id().is_none());
        prop_assert!(wire.busy().is_none() && wire.last_sqlstate().is_none());
        prop_assert!(!wire.is_closed());
        reader.received(&message(b'Z', b"I"));
        reader.sent(&message(b'Q', b"\0"));
        prop_assert_eq!(wire.outstanding(), None);
    }
}

#[test]
fn invalid_lengths_turn_the_reader_off() {
    let server: [(u8, u32); 9] = [
        (b'D', 3),
        (b'D', u32::MAX),
        (b'Z', 4),
        (b'Z', 6),
        (b'K', 11),
        (b'K', 1_000),
        (b'1', 5),
        (b'S', 40_000),
        (b'E', 4),
    ];
    for (kind, length) in server {
        let (mut reader, wire) = ready_reader();
        reader.received(&[&[kind], &length.to_be_bytes()[..]].concat());
        assert_eq!(wire.outstanding(), None, "{} {length}", char::from(kind));
    }
    for (kind, length) in [
        (b'Q', 3),
        (b'S', 5),
        (b'Q', 1 << 31),
        (b'E', 40_000),
        (b'!', 4),
    ] {
        let (mut reader, wire) = ready_reader();
        reader.sent(&[&[kind], &u32::to_be_bytes(length)[..]].concat());
        assert_eq!(wire.outstanding(), None, "{} {length}", char::from(kind));
    }
    for (length, code) in [
        (7, 3 << 16),
        (20_000, 3 << 16),
        (8, 2 << 16),
        (16, 80_877_103),
    ] {
        let (mut reader, wire) = new_reader();
        reader.sent(&[u32::to_be_bytes(length), u32::to_be_bytes(code)].concat());
        assert_eq!(wire.outstanding(), None, "{length} {code}");
    }
}

#[test]
fn invalid_answers_turn_the_reader_off() {
    let (mut reader, wire) = ready_reader();
    reader.received(&message(b'Z', b"I"));
    assert_eq!(wire.outstanding(), None, "no command is outstanding");
    let (mut reader, wire) = ready_reader();
    reader.sent(&message(b'S', b""));
    reader.received(&message(b'Z', b"?"));
    assert_eq!(wire.outstanding(), None, "no such state");
}

#[test]
fn a_fatal_error_closes_and_a_plain_one_does_not() {
    for (severity, closed) in [
        ("ERROR", false),
        ("FATAL", true),
        ("PANIC", true),
        ("FATALITY", false),
    ] {
        let (mut reader, wire) = ready_reader();
        reader.received(&error(severity, "57P01"));
        assert_eq!(wire.is_closed(), closed, "{severity}");
        assert_eq!(wire.last_sqlstate(), Some(*b"57P01"));
    }
    // The untranslated field is missing, or differs from the translated one.
    for body in ["SFATAL\0C57P01\0\0", "SSCHLIMM\0VFATAL\0C57P01\0\0"] {
        let (mut reader, wire) = ready_reader();
        reader.received(&message(b'E', body.as_bytes()));
        assert!(wire.is_closed(), "{body:?}");
    }
}

#[test]
fn an_error_with_an_invalid_code_has_no_code() {
    let (mut reader, wire) = ready_reader();
    reader.received(&message(b'E', b"SERROR\0C1234567\0Mlong\0\0"));
    assert_eq!(wire.last_sqlstate(), None);
    reader.received(&error("ERROR", "23505"));
    assert_eq!(wire.last_sqlstate(), Some(*b"23505"));
}

#[test]
fn a_long_key_of_protocol_3_2_is_read() {
    let (mut reader, wire) = new_reader();
    reader.sent(&startup());
    let key = [&7i32.to_be_bytes()[..], &[9; 256]].concat();
    reader.received(&[message(b'K', &key), message(b'Z', b"I")].concat());
    assert_eq!((wire.process_id(), wire.outstanding()), (Some(7), Some(0)));
}

#[test]
fn a_command_counts_from_its_first_message_header_on() {
    let (mut reader, wire) = ready_reader();
    let bind = message(b'B', &[0; 1000]);
    reader.sent(&bind[..500]);
    assert_eq!(wire.outstanding(), Some(1));
    reader.sent(&bind[500..]);
    reader.sent(&message(b'S', b""));
    assert_eq!(wire.outstanding(), Some(1));
}

#[test]
fn a_cancel_request_is_recognised() {
    let (mut reader, wire) = new_reader();
    reader.sent(
        &[
            &16u32.to_be_bytes()[..],
            &80_877_102u32.to_be_bytes(),
            &[0; 8],
        ]
        .concat(),
    );
    assert_eq!(wire.outstanding(), Some(1));
    reader.closed();
    assert!(wire.is_closed());
    assert!(wire.busy().unwrap() < Duration::from_secs(1));
}
