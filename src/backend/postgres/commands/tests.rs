//! Compares the count with a reference model of the server.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

impl Commands {
    fn outstanding(&self) -> u32 {
        let (sent, answered) = self.numbers();
        u32::try_from(sent - answered).unwrap()
    }
}

/// Records messages (the client's by their letters in the protocol, the server's `G` and `Z`).
/// Returns the number of outstanding commands after each.
fn play(messages: &str) -> Vec<u32> {
    let mut commands = Commands::default();
    let step = |message| {
        match message {
            'P' | 'B' | 'D' | 'E' => commands.part(),
            'Q' => commands.query(),
            'S' => commands.sync(),
            'c' | 'f' => commands.copy_ended(),
            'G' => commands.copy_began().expect("a command is outstanding"),
            'Z' => commands.ready().expect("a command is outstanding"),
            _ => unreachable!(),
        }
        commands.outstanding()
    };
    messages.chars().map(step).collect()
}

#[test]
fn each_query_and_each_sync_is_answered_once() {
    assert_eq!(play("QZ"), [1, 0]);
    assert_eq!(play("PDSBESZZ"), [1, 1, 1, 2, 2, 2, 1, 0]);
    assert_eq!(play("SQSZZZ"), [1, 2, 3, 2, 1, 0]);
}

#[test]
fn a_simple_copy_counts_as_one_command() {
    assert_eq!(play("QGcZQZ"), [1, 1, 1, 0, 1, 0]);
    assert_eq!(
        play("QcGZQZ"),
        [1, 1, 1, 0, 1, 0],
        "data sent without waiting for the server"
    );
}

#[test]
fn an_extended_copy_counts_as_one_command_despite_its_two_syncs() {
    assert_eq!(play("BESGcSZQZ"), [1, 1, 1, 1, 1, 1, 0, 1, 0]);
    assert_eq!(play("BESGSScSZQZ"), [1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0]);
    assert_eq!(
        play("BEScSGZQZ"),
        [1, 1, 1, 1, 2, 1, 0, 1, 0],
        "ended before the server's response"
    );
    assert_eq!(
        play("BESfGSZQZ"),
        [1, 1, 1, 1, 1, 1, 0, 1, 0],
        "and the second sync after it"
    );
    assert_eq!(
        play("BEcSGZQZ"),
        [1, 1, 1, 1, 1, 0, 1, 0],
        "everything in one packet"
    );
    assert_eq!(play("BEcGSZQZ"), [1, 1, 1, 1, 1, 0, 1, 0]);
    assert_eq!(
        play("QBESZGcSZQZ"),
        [1, 2, 2, 2, 1, 1, 1, 1, 0, 1, 0],
        "after another command"
    );
}

#[test]
fn a_copy_rejected_before_it_began_counts_as_two_commands() {
    assert_eq!(play("BESZfSZQZ"), [1, 1, 1, 0, 0, 1, 0, 1, 0]);
}

#[test]
fn an_answer_without_a_command_is_an_error() {
    let mut commands = Commands::default();
    assert!(commands.ready().is_err());
    assert!(commands.copy_began().is_err());
    commands.startup();
    assert!(commands.ready().is_ok());
    assert!(commands.ready().is_err());
}

/// A reference model of the server, after the description of the protocol.
#[derive(Default)]
struct FakeServer {
    taking_data: bool,
    simple: bool,
    skipping: bool,
}

impl FakeServer {
    /// Returns the answer to a message, in the letters of the protocol. Only `G` and `Z` matter
    /// here.
    ///
    /// Capital letters are the client's messages in the protocol; `x` is an `Execute` that begins a
    /// copy, `!` an `Execute` that fails, and `q` a `Query` that begins a copy.
    fn take(&mut self, message: char) -> &'static str {
        match (message, self.taking_data) {
            ('S', true) => "",
            ('c' | 'f', true) => {
                self.taking_data = false;
                self.skipping = message == 'f' && !self.simple;
                if self.simple { "Z" } else { "" }
            }
            ('S', false) => {
                self.skipping = false;
                "Z"
            }
            (_, false) if self.skipping => "",
            ('x' | 'q', false) => {
                (self.taking_data, self.simple) = (true, message == 'q');
                "G"
            }
            ('!', false) => {
                self.skipping = true;
                ""
            }
            ('Q', false) => "Z",
            _ => "",
        }
    }
}

proptest! {
    /// With commands of every kind and any delay of the answers, no answer comes without a command,
    /// and no command is outstanding at the end.
    #[test]
    fn the_count_agrees_with_the_server(
        commands in prop::collection::vec(
            prop::sample::select(vec![
                "Q", "PDS", "BES", "PBES", "S", "B!S", "qc", "qf", "BxScS", "BxSfS", "BxcS", "BxfS", "BxSScS", "B!ScS", "B!SfS", "B!cS",
            ]),
            1..12,
        ),
        turns in prop::collection::vec(0usize..3, 1..60),
    ) {
        let mut to_send: VecDeque<char> = commands.concat().chars().collect();
        let (mut sent, mut answers) = (VecDeque::new(), VecDeque::new());
        let mut server = FakeServer::default();
        let mut count = Commands::default();
        let mut turns = turns.iter().cycle();
        while !(to_send.is_empty() && sent.is_empty() && answers.is_empty()) {
            // The party whose turn it is, or else the next one that has something to do.
            let turn = *turns.next().unwrap();
            let moves = [!to_send.is_empty(), !sent.is_empty(), !answers.is_empty()];
            let turn = (turn..turn + 3).map(|turn| turn % 3).find(|turn| moves[*turn]).unwrap();
            match turn {
                0 => {
                    let message = to_send.pop_front().unwrap();
                    match message {
                        'Q' | 'q' => count.query(),
                        'S' => count.sync(),
                        'c' | 'f' => count.copy_ended(),
                        _ => count.part(),
                    }
                    sent.push_back(message);
                }
                1 => answers.extend(server.take(sent.pop_front().unwrap()).chars()),
                _ if answers.pop_front() == Some('G') => {
                    prop_assert!(count.copy_began().is_ok(), "no command")
                }
                _ => prop_assert!(count.ready().is_ok(), "no command"),
            }
            let owed = answers.iter().filter(|answer| **answer == 'Z').count();
            prop_assert!(count.outstanding() as usize >= owed, "fewer than in transit");
        }
        prop_assert_eq!(count.outstanding(), 0);
    }
}
