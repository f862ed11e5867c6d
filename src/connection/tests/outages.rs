//! Tests outages: connection attempts to an unreachable database.

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::sleep;

use super::*;

#[tokio::test(start_paused = true)]
async fn the_first_refused_attempt_fails_at_once_and_later_ones_soon() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(refuse);
    let (kind, text, took) = pool.failure().await;
    assert_eq!(
        (kind, &*text, took),
        (ConnectErrorKind::Unreachable, "unreachable", ms(0))
    );
    sleep(Duration::from_secs(60)).await;
    let (kind, text, took) = pool.failure().await;
    assert_eq!(kind, ConnectErrorKind::Unreachable);
    assert!(took <= ms(100), "{took:?}");
    assert!(
        text.starts_with("unreachable; the database has been down for 60.")
            && text.ends_with("last tried 0.0 s ago"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn checkouts_during_an_outage_do_not_connect_individually() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(refuse);
    drop(pool.failure().await);
    sleep(ms(1)).await;
    let start = Instant::now();
    let all = join_all((0..200).map(|_| pool.get())).await;
    assert!(all.iter().all(Result::is_err));
    assert!(start.elapsed() <= ms(500), "{:?}", start.elapsed());
    assert!(pool.script.dials() <= 8, "{}", pool.script.dials());
    // Continuous requests cause about ten attempts per second.
    let dialled = pool.script.dials();
    while start.elapsed() < Duration::from_secs(10) {
        assert!(pool.get().await.is_err());
    }
    assert!(pool.script.dials() - dialled <= 10 * 13);
}

#[tokio::test(start_paused = true)]
async fn without_requests_the_prober_connects_twice_a_second_and_notices_the_return() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(refuse);
    drop(pool.failure().await);
    sleep(Duration::from_secs(60)).await;
    let dialled = pool.script.dials();
    assert!((100..=160).contains(&dialled), "{dialled}");

    pool.script.dials_that(succeeds);
    sleep(Duration::from_secs(1)).await;
    // The probe's connection is in the pool.
    assert_eq!(pool.counts(), (1, 1));
    assert_eq!(pool.script.dials(), dialled + 1);
    let held = pool.get().now_or_never().unwrap().unwrap();
    sleep(Duration::from_secs(60)).await;
    drop(held);
    assert_eq!(pool.script.dials(), dialled + 1);
    assert_eq!(pool.events.opened.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_checkout_after_the_return_gets_the_probes_connection() {
    for away in [ms(1), ms(99), ms(350), ms(60_000)] {
        let pool = Tested::new(|settings| {
            (settings.pool_size, settings.max_overflow) = (1, 0);
        });
        pool.script.dials_that(refuse);
        drop(pool.failure().await);
        sleep(away).await;
        pool.script.dials_that(succeeds);
        let start = Instant::now();
        let held = pool.get().await.unwrap();
        assert!(start.elapsed() <= ms(500), "{:?}", start.elapsed());
        assert_eq!(pool.counts(), (1, 0));
        assert_eq!(pool.events.opened.load(Ordering::SeqCst), 1);
        drop(held);
    }
}

/// The database neither answers nor refuses. Only the first checkout waits for the end of an attempt.
#[tokio::test(start_paused = true)]
async fn checkouts_fail_fast_while_attempts_hang() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(hang);
    let (kind, _, took) = pool.failure().await;
    assert_eq!((kind, took), (ConnectErrorKind::TimedOut, CONNECT_TIMEOUT));
    for _ in 0..30 {
        let (kind, text, took) = pool.failure().await;
        assert_eq!(kind, ConnectErrorKind::TimedOut);
        assert!(took <= ms(501), "{took:?}");
        assert!(
            text.starts_with("no connection within 10s; the database"),
            "{text}"
        );
        sleep(ms(700)).await;
    }
    // The database is back: old attempts still hang, a new one succeeds.
    pool.script.dials_that(succeeds);
    let start = Instant::now();
    while pool.get().await.is_err() {
        assert!(start.elapsed() <= Duration::from_secs(1));
    }
    assert!(start.elapsed() <= Duration::from_secs(1));
    sleep(Duration::from_secs(30)).await;
    assert_eq!(pool.counts().0, pool.events.opened.load(Ordering::SeqCst));
    // An old attempt that times out now does not declare another outage.
    let start = Instant::now();
    assert_eq!(pool.held(10).await.len(), 10);
    assert_eq!(start.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn all_waiting_checkouts_fail_soon_after_an_outage_is_declared() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(hang);
    let start = Instant::now();
    let early = pool.get();
    let late = async {
        sleep(Duration::from_secs(6)).await;
        join_all((0..40).map(|_| pool.get())).await
    };
    let (early, late) = futures_util::future::join(early, late).await;
    assert!(early.is_err() && late.iter().all(Result::is_err));
    assert!(
        start.elapsed() <= CONNECT_TIMEOUT + ms(501),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_prober_finds_a_slow_server() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(refuse);
    drop(pool.failure().await);
    pool.script.dials_that(after(Duration::from_secs(7)));
    sleep(Duration::from_secs(8)).await;
    assert_eq!(pool.counts(), (1, 1));
}

/// A checkout that has queued for long at the gate does not wait again in the pool.
#[tokio::test(start_paused = true)]
async fn a_checkout_that_has_waited_long_enough_fails_at_once() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(hang);
    drop(pool.failure().await);
    sleep(Duration::from_secs(5)).await;
    let start = Instant::now();
    let checkout = Checkout::new().asked_at(start - Duration::from_secs(2));
    assert!(pool.checkout(checkout).await.is_err());
    assert_eq!(start.elapsed(), ms(0));
}

#[tokio::test(start_paused = true)]
async fn checkouts_wait_on_while_healthy_connections_are_returned() {
    let pool = Tested::new(|settings| (settings.pool_size, settings.max_overflow) = (2, 2));
    let mut held = pool.held(2).await;
    pool.script.dials_that(refuse);
    let waiting = tokio::spawn(pool.get());
    sleep(ms(800)).await;
    assert!(!waiting.is_finished());
    drop(held.pop());
    drop(waiting.await.unwrap().unwrap());
    // No healthy return for more than a second: the connection in use is not expected back.
    let one = pool.get().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    let (_, _, took) = pool.failure().await;
    assert!(took <= ms(701), "{took:?}");
    drop((one, held));
    // Both connections are returned after all: they are used again, after a ping.
    let pings = pool.script.pings();
    drop(pool.get().await.unwrap());
    assert_eq!(pool.script.pings(), pings + 1);
}

/// A server that is reachable and refuses is not an outage. Waiting checkouts get the refusal.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_back_and_refuses_ends_the_outage() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(refuse);
    drop(pool.failure().await);
    sleep(ms(10)).await;
    pool.script
        .dials_that(fail(ConnectErrorKind::Authentication));
    let (kind, text, took) = pool.failure().await;
    assert_eq!(
        (kind, &*text),
        (ConnectErrorKind::Authentication, "authentication")
    );
    assert!(took <= ms(500), "{took:?}");
    let dialled = pool.script.dials();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        pool.script.dials(),
        dialled,
        "attempts are made only on demand"
    );
    pool.script.dials_that(succeeds);
    assert!(pool.get().await.is_ok());
}

/// Each checkout is answered soon, and few logins are tried: by checkouts, by the monitoring connection
/// and by a warm-up.
#[tokio::test(start_paused = true)]
async fn a_refused_login_is_reported_soon_while_connections_are_held() {
    let pool = Tested::new(|_| {});
    let held = pool.held(3).await;
    sleep(Duration::from_secs(1)).await;
    pool.script
        .dials_that(fail(ConnectErrorKind::Authentication));
    let (start, dialled) = (Instant::now(), pool.script.dials());
    let checkouts = (0..200).map(|number| {
        let pool = &pool;
        async move {
            sleep(ms(number * 50)).await;
            let (kind, _, took) = pool.failure().await;
            assert_eq!(kind, ConnectErrorKind::Authentication);
            assert!(took <= ms(701), "{took:?}");
        }
    });
    let others = async {
        for _ in 0..100 {
            sleep(ms(100)).await;
            drop(pool.service.dedicated().await);
            drop(pool.service.warm_up(ms(10)).await);
        }
    };
    futures_util::future::join(join_all(checkouts), others).await;
    let logins = u64::from(pool.script.dials() - dialled);
    let seconds = start.elapsed().as_secs();
    assert!(
        (seconds - 1..=seconds + 1).contains(&logins),
        "{logins} in {seconds} s"
    );
    // A connection that is returned in time is as good as a new one.
    let waiting = tokio::spawn(pool.get());
    sleep(ms(100)).await;
    drop(held);
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_outage_makes_open_connections_suspect() {
    let pool = Tested::new(|settings| settings.pool_size = 3);
    drop(pool.held(2).await);
    let held = pool.held(2).await;
    assert_eq!(pool.script.pings(), 0);
    pool.script.dials_that(refuse);
    let waiting = tokio::spawn(pool.get());
    sleep(ms(1)).await;
    drop(held);
    let _lease = waiting.await.unwrap().unwrap();
    drop(pool.get().await.unwrap());
    drop(pool.get().await.unwrap());
    assert_eq!(pool.script.pings(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_prober_ends_with_the_pool() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(refuse);
    drop(pool.failure().await);
    let script = pool.script.clone();
    drop(pool);
    sleep(Duration::from_secs(1)).await;
    let dialled = script.dials();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(script.dials(), dialled);

    let pool = Tested::new(|_| {});
    pool.script.dials_that(refuse);
    drop(pool.failure().await);
    pool.service.start_close();
    pool.service.finish_close().await;
    sleep(Duration::from_secs(1)).await;
    let dialled = pool.script.dials();
    pool.script.dials_that(succeeds);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((pool.script.dials(), pool.counts()), (dialled, (0, 0)));
}

/// A checkout that is cancelled during an outage does not lose the probe's connection.
#[tokio::test(start_paused = true)]
async fn a_probes_connection_is_not_lost_with_a_cancelled_checkout() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(refuse);
    drop(pool.failure().await);
    sleep(ms(1)).await;
    let mut get = pool.get();
    assert!(get.as_mut().now_or_never().is_none());
    sleep(ms(1)).await;
    drop(get);
    pool.script.dials_that(succeeds);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(pool.counts(), (1, 1));
    assert_eq!(pool.events.opened.load(Ordering::SeqCst), 1);
}
