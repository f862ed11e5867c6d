use super::*;
use crate::advice::model::random::Random;
use crate::record::clock::SECOND;

#[test]
fn each_connection_out_owes_an_equal_share() {
    let mut blame = Blame::default();
    blame.set(0, 0, 4);
    blame.advance(SECOND);
    assert_eq!(blame.mark(), Mark::default(), "nobody queues");
    // Three queue behind four connections for two seconds.
    blame.set(SECOND, 3, 4);
    blame.advance(3 * SECOND);
    assert_eq!(blame.mark().owed.seconds(), 1.5);
    assert_eq!(blame.mark().each.seconds(), 0.5);
    // None is out, and then one.
    blame.set(3 * SECOND, 3, 0);
    blame.advance(4 * SECOND);
    assert_eq!(blame.mark().owed.seconds(), 1.5);
    assert_eq!(blame.nobodys().seconds(), 3.0);
    blame.set(4 * SECOND, 1, 1);
    blame.advance(5 * SECOND);
    assert_eq!(blame.mark().owed.seconds(), 2.5);
    // The clock of an event may be behind the one before.
    blame.advance(2 * SECOND);
    blame.set(2 * SECOND, 1, 1);
    blame.advance(6 * SECOND);
    assert_eq!(blame.mark().owed.seconds(), 3.5);
    // An idle time is skipped.
    blame.set(6 * SECOND, 0, 1);
    blame.set(100 * SECOND, 1, 1);
    blame.advance(101 * SECOND);
    assert_eq!(blame.mark().owed.seconds(), 4.5);
}

/// Whatever happens, all holds together owe the time queued: a million random events.
#[test]
fn the_holds_owe_the_time_queued() {
    let mut random = Random::new(15);
    let mut blame = Blame::default();
    let (mut now, mut suspended) = (0, false);
    // The marks of the holds, and how many checkouts queue.
    let (mut holds, mut queue): (Vec<Mark>, u32) = Default::default();
    let (mut owed, mut before) = (Owed::ZERO, Mark::default());
    let (mut queued, mut nobodys) = (0_u128, 0_u128);
    for _ in 0..1_000_000 {
        match random.below(30) {
            0..11 => {
                // From the shortest that the clock can tell apart to an hour.
                let most = [2000, 2000, 5_000_000, 3600 * SECOND][random.below(4)];
                let time = random.below(most as usize) as u64;
                now += time;
                let all = u128::from(time) * u128::from(queue);
                if holds.is_empty() || suspended {
                    nobodys += all;
                } else {
                    queued += all;
                }
            }
            11..18 if queue < 100 => queue += 1,
            // One that queues is granted.
            18..22 if queue > 0 => {
                queue -= 1;
                holds.push(blame.mark());
            }
            // It gives up.
            22..24 => queue = queue.saturating_sub(1),
            24..28 if !holds.is_empty() => {
                let mark = holds.swap_remove(random.below(holds.len()));
                assert!(blame.mark().each >= mark.each);
                owed += blame.mark().owed - mark.owed;
            }
            28 => suspended = true,
            29 => suspended = false,
            _ => {}
        }
        blame.advance(now);
        let out = if suspended { 0 } else { holds.len() as u32 };
        blame.set(now, queue, out);
        let mark = blame.mark();
        assert!(mark.owed >= before.owed && mark.each >= before.each);
        before = mark;
    }
    owed += holds.iter().map(|mark| blame.mark().owed - mark.owed).sum();
    let near = |is: Owed, nanos: u128| (is.seconds() * 1e9 / nanos as f64 - 1.0).abs() <= 1e-6;
    assert!(near(owed, queued), "{owed:?} {queued}");
    assert!(
        near(blame.nobodys(), nobodys),
        "{:?} {nobodys}",
        blame.nobodys()
    );
}

#[test]
fn a_part_is_rounded_down_and_never_more_than_the_whole() {
    let owed = Owed::divided(10 * SECOND, 3);
    for (numerator, denominator, part) in [
        (0, 7, 0.0),
        (1, 4, 0.25),
        (7, 7, 1.0),
        (9, 7, 1.0),
        (0, 0, 1.0),
    ] {
        let is = owed.part(numerator, denominator);
        assert!(is <= owed);
        assert!(
            (is.seconds() - owed.seconds() * part).abs() < 1e-8,
            "{numerator}/{denominator}"
        );
    }
}
