//! Tests how the failure of one connection affects the others.

use std::sync::atomic::AtomicBool;

use tokio::time::sleep;

use super::*;

/// Returns a step that fails once and then succeeds.
fn fails_once() -> impl Fn() -> Step + Send + 'static {
    let has_failed = AtomicBool::new(false);
    move || match has_failed.swap(true, Ordering::SeqCst) {
        true => succeeds(),
        false => refuse(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_old_connection_makes_newer_ones_suspect() {
    let pool = Tested::new(|_| {});
    let old = pool.held(1).await;
    drop(pool.held(1).await);
    // After an earlier failure, the second connection passes its ping while the first is in use.
    pool.suspect_all();
    drop(pool.get().await.unwrap());
    assert_eq!(pool.script.pings(), 1);
    drop(old);
    // The first fails its ping. Everything known about the second is older, so it is pinged too.
    pool.script.pings_that(fails_once());
    drop(pool.get().await.unwrap());
    assert_eq!(pool.script.pings(), 3);
    assert_eq!(pool.events.closed(), ["ping_failed"]);
    // Now the second is known to be healthy.
    drop(pool.get().await.unwrap());
    assert_eq!(pool.script.pings(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_fails_at_once_costs_only_its_own_connection() {
    let pool = Tested::new(|_| {});
    drop(pool.held(5).await);
    pool.suspect_all();
    pool.script.pings_that(fails_once());
    drop(pool.get().await.unwrap());
    assert_eq!(pool.counts(), (4, 4));
}

/// A firewall has dropped all old connections and lets new ones through.
#[tokio::test(start_paused = true)]
async fn only_one_of_many_hanging_pings_delays_a_checkout() {
    let pool = Tested::new(|policy| policy.pre_ping_bypass = ms(500));
    drop(pool.held(10).await);
    sleep(Duration::from_secs(3600)).await;
    pool.script.pings_that(hang);
    let start = Instant::now();
    let fresh = pool.get().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(pool.script.pings(), 1);
    drop(fresh);
    assert_eq!(pool.counts(), (1, 1));
    assert_eq!(pool.events.closed(), ["ping_failed"; 10]);
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_costs_one_ping_and_one_connection_attempt() {
    let pool = Tested::new(|policy| policy.pre_ping_bypass = ms(500));
    drop(pool.held(10).await);
    sleep(Duration::from_secs(60)).await;
    pool.script.dials_that(hang);
    pool.script.pings_that(hang);
    let (kind, _, took) = pool.failure().await;
    assert_eq!(kind, ConnectErrorKind::TimedOut);
    let longest = Duration::from_secs(2) + CONNECT_TIMEOUT;
    assert!(took <= longest + ms(600), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shrink_during_a_warm_up_keeps_to_the_new_size() {
    let pool = Tested::new(|policy| (policy.pool_size, policy.max_overflow) = (5, 0));
    pool.script.dials_that(after(ms(1000)));
    let warm_up = tokio::spawn(pool.service.warm_up(Duration::from_secs(30)));
    sleep(ms(500)).await;
    pool.service.resize(1, 0);
    warm_up.await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(pool.counts(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_shrink_while_checkouts_connect_keeps_to_the_new_size() {
    let pool = Tested::new(|policy| (policy.pool_size, policy.max_overflow) = (5, 0));
    pool.script.dials_that(after(ms(100)));
    let given_up = futures_util::future::join_all((0..5).map(|_| pool.get()));
    let given_up = tokio::time::timeout(ms(50), given_up).await;
    assert!(given_up.is_err());
    pool.service.resize(1, 0);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(pool.counts(), (1, 1));
    assert_eq!(pool.events.closed(), ["resize"; 4]);
}

/// bb8 still counts an attempt whose task ended with its runtime.
#[test]
fn a_runtime_that_ends_during_an_attempt_does_not_block_the_pool() {
    let [first, second] = [(); 2].map(|()| tokio::runtime::Runtime::new().unwrap());
    let pool = {
        let _in = first.enter();
        Tested::new(|policy| (policy.pool_size, policy.max_overflow) = (1, 0))
    };
    pool.script.dials_that(hang);
    second.block_on(async {
        let given_up = tokio::time::timeout(ms(50), pool.get()).await;
        assert!(given_up.is_err());
    });
    second.shutdown_timeout(Duration::from_secs(10));
    pool.script.dials_that(succeeds);
    first.block_on(async {
        let served = tokio::time::timeout(Duration::from_secs(20), pool.get()).await;
        assert!(served.expect("in time").is_ok());
    });
}
