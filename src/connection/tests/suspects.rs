//! What a connection that fails says of the others.

use std::sync::atomic::AtomicBool;

use tokio::time::sleep;

use super::*;

/// Fails once, and succeeds from then on.
fn fails_once() -> impl Fn() -> Step + Send + 'static {
    let has_failed = AtomicBool::new(false);
    move || match has_failed.swap(true, Ordering::SeqCst) {
        true => succeeds(),
        false => refuse(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_one_that_fails_makes_the_newer_suspect() {
    let pool = Tested::new(|_| {});
    let old = pool.held(1).await;
    drop(pool.held(1).await);
    // An earlier failure, after which the second is found well and the first is still out.
    pool.service.invalidate();
    drop(pool.get().await.unwrap());
    assert_eq!(pool.script.pings(), 1);
    drop(old);
    // The first is found broken: all that is known of the second is older than that.
    pool.script.pings_that(fails_once());
    drop(pool.get().await.unwrap());
    assert_eq!(pool.script.pings(), 3);
    assert_eq!(pool.told.closed(), ["ping_failed"]);
    // And now it is known to be well.
    drop(pool.get().await.unwrap());
    assert_eq!(pool.script.pings(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_fails_at_once_costs_only_its_own_connection() {
    let pool = Tested::new(|_| {});
    drop(pool.held(5).await);
    pool.service.invalidate();
    pool.script.pings_that(fails_once());
    drop(pool.get().await.unwrap());
    assert_eq!(pool.counts(), (4, 4));
}

/// A firewall has forgotten all of them, and new ones get through.
#[tokio::test(start_paused = true)]
async fn of_many_that_hang_one_is_waited_for() {
    let pool = Tested::new(|care| care.pre_ping_bypass = ms(500));
    drop(pool.held(10).await);
    sleep(Duration::from_secs(3600)).await;
    pool.script.pings_that(hang);
    let start = Instant::now();
    let fresh = pool.get().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(pool.script.pings(), 1);
    drop(fresh);
    assert_eq!(pool.counts(), (1, 1));
    assert_eq!(pool.told.closed(), ["ping_failed"; 10]);
}

#[tokio::test(start_paused = true)]
async fn a_black_hole_behind_idle_connections_costs_one_ping_and_one_dial() {
    let pool = Tested::new(|care| care.pre_ping_bypass = ms(500));
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
async fn a_pool_that_shrinks_while_it_warms_up_keeps_to_its_size() {
    let pool = Tested::new(|care| (care.pool_size, care.max_overflow) = (5, 0));
    pool.script.dials_that(after(ms(1000)));
    let warm_up = tokio::spawn(pool.service.warm_up(Duration::from_secs(30)));
    sleep(ms(500)).await;
    pool.service.resize(1, 0);
    warm_up.await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(pool.counts(), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_shrinks_while_checkouts_dial_keeps_to_its_size() {
    let pool = Tested::new(|care| (care.pool_size, care.max_overflow) = (5, 0));
    pool.script.dials_that(after(ms(100)));
    let given_up = futures_util::future::join_all((0..5).map(|_| pool.get()));
    let given_up = tokio::time::timeout(ms(50), given_up).await;
    assert!(given_up.is_err());
    pool.service.resize(1, 0);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(pool.counts(), (1, 1));
    assert_eq!(pool.told.closed(), ["resize"; 4]);
}

/// bb8 counts a dial as under way whose task has gone with its runtime.
#[test]
fn a_runtime_that_ends_takes_its_dial_along_and_no_place() {
    let [first, second] = [(); 2].map(|()| tokio::runtime::Runtime::new().unwrap());
    let pool = {
        let _in = first.enter();
        Tested::new(|care| (care.pool_size, care.max_overflow) = (1, 0))
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
