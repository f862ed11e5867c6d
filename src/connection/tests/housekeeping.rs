//! Tests the keepalive, the recycling and the warm-up.

use futures_util::FutureExt;
use tokio::time::sleep;

use super::*;

const IDLE: Duration = Duration::from_secs(60);

fn kept_alive(change: impl FnOnce(&mut PolicySettings)) -> Tested {
    Tested::new(|settings| {
        settings.keepalive = Some(IDLE);
        change(settings);
    })
}

#[tokio::test(start_paused = true)]
async fn only_long_idle_connections_are_pinged() {
    let pool = kept_alive(|_| {});
    let held = pool.held(3).await;
    sleep(IDLE / 2).await;
    drop(held);
    // One connection is used all the time.
    for _ in 0..55 {
        sleep(Duration::from_secs(1)).await;
        drop(pool.get().await.unwrap());
    }
    assert_eq!((pool.script.pings(), pool.counts()), (0, (3, 3)));
    for _ in 0..8 {
        sleep(Duration::from_secs(1)).await;
        drop(pool.get().await.unwrap());
    }
    assert_eq!(pool.script.pings(), 2);
    sleep(IDLE * 10).await;
    let pings = pool.script.pings();
    assert!((2 + 29..=2 + 31).contains(&pings), "{pings}");
    assert_eq!((pool.script.dials(), pool.counts()), (3, (3, 3)));
}

#[tokio::test(start_paused = true)]
async fn a_failed_keepalive_closes_its_connection_and_makes_the_others_suspect() {
    let pool = kept_alive(|_| {});
    let held = pool.held(3).await;
    drop(held);
    sleep(IDLE / 2).await;
    drop(pool.get().await.unwrap());
    pool.script.pings_that(refuse);
    sleep(IDLE - Duration::from_secs(10)).await;
    assert_eq!(pool.events.closed(), ["ping_failed"; 2]);
    assert_eq!(pool.counts(), (1, 1));
    pool.script.pings_that(succeeds);
    let pings = pool.script.pings();
    drop(pool.get().await.unwrap());
    assert_eq!(pool.script.pings(), pings + 1);
}

#[tokio::test(start_paused = true)]
async fn a_checkout_waits_for_a_hanging_ping_only_up_to_the_ping_timeout() {
    let pool = kept_alive(|settings| (settings.pool_size, settings.max_overflow) = (1, 0));
    drop(pool.get().await.unwrap());
    pool.script.pings_that(hang);
    sleep(IDLE + ms(100)).await;
    // The connection counts as idle while it is pinged.
    assert_eq!((pool.script.pings(), pool.counts()), (1, (1, 1)));
    let start = Instant::now();
    let held = pool.get().await.unwrap();
    assert!(
        start.elapsed() <= Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!((pool.script.dials(), pool.counts()), (2, (1, 0)));
    assert_eq!(pool.events.closed(), ["ping_failed"]);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_checkout_waits_for_a_ping_that_succeeds() {
    let pool = kept_alive(|settings| (settings.pool_size, settings.max_overflow) = (1, 0));
    drop(pool.get().await.unwrap());
    pool.script.pings_that(after(ms(300)));
    sleep(IDLE + ms(100)).await;
    assert_eq!(pool.script.pings(), 1);
    let start = Instant::now();
    let _held = pool.get().await.unwrap();
    assert!(start.elapsed() <= ms(201), "{:?}", start.elapsed());
    assert_eq!((pool.script.dials(), pool.script.pings()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_keepalive_takes_no_connection_from_waiting_checkouts() {
    let pool = kept_alive(|_| {});
    drop(pool.held(3).await);
    pool.events.waiting.store(1, Ordering::SeqCst);
    sleep(IDLE * 3).await;
    assert_eq!(pool.script.pings(), 0);
    pool.events.waiting.store(0, Ordering::SeqCst);
    sleep(IDLE).await;
    assert_eq!(pool.script.pings(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_keepalive_ends_with_the_pool() {
    let pool = kept_alive(|_| {});
    drop(pool.held(3).await);
    let (script, events) = (pool.script.clone(), Arc::clone(&pool.events));
    drop(pool);
    sleep(IDLE * 10).await;
    assert_eq!(script.pings(), 0);
    assert_eq!(events.closed(), ["shutdown"; 3]);
}

#[tokio::test(start_paused = true)]
async fn lifetimes_are_jittered_and_never_longer_than_the_setting() {
    let pool = Tested::new(|settings| {
        (settings.pool_size, settings.max_overflow) = (100, 0);
        settings.recycle = Some(Duration::from_secs(1000));
    });
    drop(pool.held(100).await);
    sleep(Duration::from_secs(899)).await;
    drop(pool.held(100).await);
    assert_eq!(pool.events.closed().len(), 0);
    sleep(Duration::from_secs(51)).await;
    drop(pool.held(100).await);
    // About half of them: 20 and 80 are six standard deviations off.
    let half = pool.events.closed().len();
    assert!((20..=80).contains(&half), "{half}");
    sleep(Duration::from_secs(51)).await;
    drop(pool.held(100).await);
    assert_eq!(pool.events.closed(), ["recycle"; 100]);
}

#[tokio::test(start_paused = true)]
async fn a_suspected_connection_is_pinged_once() {
    let pool = Tested::new(|_| {});
    drop(pool.held(3).await);
    pool.suspect_all();
    drop(pool.held(3).await);
    drop(pool.held(3).await);
    assert_eq!(pool.script.pings(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_replaces_every_connection_once() {
    let pool = Tested::new(|_| {});
    let held = pool.held(1).await;
    drop(pool.held(2).await);
    pool.service.invalidate();
    assert_eq!(pool.events.closed(), ["invalidated"; 2]);
    drop(held);
    assert_eq!(pool.events.closed(), ["invalidated"; 3]);
    drop(pool.held(3).await);
    drop(pool.held(3).await);
    assert_eq!((pool.script.dials(), pool.script.pings()), (6, 0));
    assert_eq!(pool.counts(), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_opening_began_before_an_invalidation_is_replaced() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(after(ms(100)));
    let (held, ()) = tokio::join!(pool.get(), async {
        sleep(ms(50)).await;
        pool.service.invalidate();
    });
    assert_eq!(pool.events.closed(), ["invalidated"]);
    drop(held.unwrap());
    assert_eq!(pool.script.dials(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_opens_all_missing_connections() {
    let pool = Tested::new(|settings| settings.max_connecting = 4);
    pool.script.dials_that(after(ms(100)));
    let held = pool.get().await.unwrap();
    let warm_up = pool.service.warm_up(Duration::from_secs(30)).await;
    assert_eq!(
        (warm_up.opened, warm_up.failed, warm_up.took),
        (9, 0, ms(300))
    );
    assert!(warm_up.is_complete() && warm_up.error.is_none());
    assert_eq!(pool.counts(), (10, 9));
    drop(held);
    let again = pool.service.warm_up(Duration::from_secs(30)).await;
    assert_eq!((again.opened, again.failed), (0, 0));
    assert_eq!((pool.script.dials(), pool.counts()), (10, (10, 10)));
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_retries_an_unreachable_database_until_the_deadline() {
    let pool = Tested::new(|_| {});
    pool.script.dials_that(refuse);
    let warm_up = pool.service.warm_up(Duration::from_secs(5)).await;
    assert_eq!((warm_up.opened, warm_up.failed), (0, 10));
    assert_eq!(warm_up.error.unwrap().kind(), ConnectErrorKind::Unreachable);
    assert!(warm_up.took <= Duration::from_secs(5), "{:?}", warm_up.took);

    let back = async {
        sleep(Duration::from_secs(3)).await;
        pool.script.dials_that(succeeds);
    };
    let warm_up = pool.service.warm_up(Duration::from_secs(30));
    let (warm_up, ()) = futures_util::future::join(warm_up, back).await;
    // Nine if the prober opened the tenth.
    assert!(warm_up.opened >= 9 && warm_up.is_complete(), "{warm_up:?}");
    assert!(warm_up.took <= Duration::from_secs(4), "{:?}", warm_up.took);
    assert_eq!(pool.counts(), (10, 10));
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_ends_at_its_deadline_and_late_connections_are_used() {
    let pool = Tested::new(|settings| settings.pool_size = 3);
    pool.script.dials_that(after(Duration::from_secs(5)));
    let warm_up = pool.service.warm_up(Duration::from_secs(2)).await;
    assert_eq!((warm_up.opened, warm_up.failed), (0, 3));
    assert_eq!(warm_up.error.unwrap().kind(), ConnectErrorKind::TimedOut);
    assert_eq!(warm_up.took, Duration::from_secs(2));
    // Until one has succeeded, they begin a second apart.
    sleep(Duration::from_secs(6)).await;
    assert_eq!(pool.counts(), (3, 3));

    // Late connections of a dropped pool are closed.
    let pool = Tested::new(|settings| settings.pool_size = 3);
    pool.script.dials_that(after(Duration::from_secs(5)));
    drop(pool.service.warm_up(Duration::from_secs(2)).await);
    let (script, events) = (pool.script.clone(), Arc::clone(&pool.events));
    drop(pool);
    sleep(Duration::from_secs(60)).await;
    assert_eq!((script.dials(), events.closed()), (3, vec!["shutdown"; 3]));
}

#[tokio::test(start_paused = true)]
async fn a_refused_warm_up_fails_at_once() {
    let pool = Tested::new(|_| {});
    pool.script
        .dials_that(fail(ConnectErrorKind::Authentication));
    let warm_up = pool.service.warm_up(Duration::from_secs(30)).await;
    assert_eq!((warm_up.opened, warm_up.failed), (0, 10));
    assert_eq!(
        warm_up.error.unwrap().kind(),
        ConnectErrorKind::Authentication
    );
    assert!(warm_up.took <= Duration::from_secs(2), "{:?}", warm_up.took);
    assert!(pool.get().now_or_never().is_none());
}
