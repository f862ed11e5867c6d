//! Tests that the tap passes all bytes on unchanged.

use std::io::IoSlice;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::backend::postgres::reader::tests::{message, startup};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Generates valid messages, garbage, or valid messages followed by garbage.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let garbage = prop::collection::vec(any::<u8>(), 0..300);
    (any::<bool>(), 0usize..4, garbage).prop_map(|(begun, queries, garbage)| {
        let mut bytes = if begun { startup() } else { Vec::new() };
        bytes.extend(message(b'S', b"").repeat(queries));
        bytes.extend(garbage);
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn bytes_pass_unchanged_both_ways(
        out in streams(),
        back in streams(),
        pipe in 1usize..64,
        room in 1usize..64,
        vectored: bool,
    ) {
        let wire = Arc::new(Wire::new());
        let (arrived, came_back) = run(async {
            let (near, mut far) = duplex(pipe);
            let mut tap = Tap::new(near, Arc::clone(&wire));
            let server = async {
                let mut arrived = vec![0; out.len()];
                far.read_exact(&mut arrived).await.unwrap();
                far.write_all(&back).await.unwrap();
                drop(far);
                arrived
            };
            let client = async {
                let mut rest = &out[..];
                while !rest.is_empty() {
                    let (first, second) = rest.split_at(rest.len() / 2);
                    let sent = if vectored {
                        tap.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]).await.unwrap()
                    } else {
                        tap.write(rest).await.unwrap()
                    };
                    rest = &rest[sent..];
                }
                tap.flush().await.unwrap();
                let mut came_back = Vec::<u8>::new();
                let mut piece = vec![0; room];
                loop {
                    match tap.read(&mut piece).await.unwrap() {
                        0 => return came_back,
                        got => came_back.extend(&piece[..got]),
                    }
                }
            };
            tokio::join!(server, client)
        });
        prop_assert!(wire.is_closed(), "the server closed the connection");
        prop_assert_eq!(arrived, out);
        prop_assert_eq!(came_back, back);
    }
}

#[test]
fn only_bytes_that_the_transport_accepted_are_counted() {
    run(async {
        let (near, _far) = duplex(10);
        let wire = Arc::new(Wire::new());
        let mut tap = Tap::new(near, Arc::clone(&wire));
        let bytes = [startup(), message(b'Q', b"select 1\0")].concat();
        assert!(tap.is_write_vectored());
        let sent = tap
            .write_vectored(&[IoSlice::new(&bytes[..4]), IoSlice::new(&bytes[4..])])
            .await
            .unwrap();
        assert_eq!((sent, wire.outstanding()), (10, Some(1)));
    });
}

#[test]
fn either_side_can_close_the_connection() {
    run(async {
        let new = || {
            let (near, far) = duplex(64);
            let wire = Arc::new(Wire::new());
            (Tap::new(near, Arc::clone(&wire)), far, wire)
        };
        let (tap, _far, wire) = new();
        assert!(!wire.is_closed());
        drop(tap);
        assert!(wire.is_closed(), "dropped");

        let (mut tap, _far, wire) = new();
        tap.shutdown().await.unwrap();
        assert!(wire.is_closed(), "shut down");

        let (mut tap, far, wire) = new();
        drop(far);
        assert!(tap.write_all(b"anything").await.is_err());
        assert!(wire.is_closed(), "failed to write");

        let (mut tap, _far, wire) = new();
        assert_eq!(tap.read(&mut []).await.unwrap(), 0);
        assert!(
            !wire.is_closed(),
            "a read into an empty buffer is not the end of the stream"
        );
    });
}
