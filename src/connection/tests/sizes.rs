//! Tests the limits on open connections and on connection attempts.

use tokio::time::sleep;

use super::*;

/// The limit holds without a gate too, with any number of requests to bb8.
#[tokio::test(start_paused = true)]
async fn open_connections_never_exceed_the_limit() {
    let pool = Tested::new(|settings| (settings.pool_size, settings.max_overflow) = (2, 1));
    pool.script.dials_that(after(ms(10)));
    let most = Arc::new(AtomicU32::new(0));
    let users = (0..50).map(|_| {
        let (get, most, service) = (pool.get(), Arc::clone(&most), pool.service.clone());
        async move {
            let held = get.await.unwrap();
            most.fetch_max(service.counts().open, Ordering::SeqCst);
            sleep(ms(5)).await;
            drop(held);
        }
    });
    futures_util::future::join_all(users).await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert!(pool.script.dials() <= 3 + 50, "{}", pool.script.dials());
    assert_eq!(pool.counts().0, pool.counts().1);
    assert!(pool.counts().0 <= 3);
}

#[tokio::test(start_paused = true)]
async fn simultaneous_attempts_never_exceed_max_connecting() {
    let pool = Tested::new(|settings| settings.max_connecting = 3);
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let seen = Arc::clone(&most);
    pool.script.dials_that(move || {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        Box::pin(async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(ms(100)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
    });
    let start = Instant::now();
    let held = pool.held(9).await;
    // The first runs alone.
    assert_eq!((held.len(), start.elapsed()), (9, ms(400)));
    assert_eq!(seen.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_shrink_closes_idle_connections_now_and_those_in_use_on_return() {
    let pool = Tested::new(|settings| (settings.pool_size, settings.max_overflow) = (6, 0));
    let mut held = pool.held(6).await;
    drop(held.split_off(3));
    assert_eq!(pool.counts(), (6, 3));
    pool.service.resize(2, 0);
    assert_eq!(pool.events.resized.load(Ordering::SeqCst), 1);
    // Three connections are in use, more than the limit, so none stays idle.
    assert_eq!(pool.counts(), (3, 0));
    let counts = pool.service.counts();
    assert_eq!((counts.pool_size, counts.max_connections()), (2, 2));
    drop(held.pop());
    assert_eq!(pool.counts(), (2, 0));
    drop(held);
    assert_eq!(pool.counts(), (2, 2));
    assert_eq!(pool.events.closed(), ["resize"; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_shrink_does_not_change_the_reason_of_overflow_connections() {
    let pool = Tested::new(|settings| (settings.pool_size, settings.max_overflow) = (4, 4));
    let held = pool.held(8).await;
    pool.service.resize(2, 6);
    drop(held);
    assert_eq!(pool.counts(), (2, 2));
    let closed = pool.events.closed();
    let of = |reason: &str| closed.iter().filter(|one| **one == reason).count();
    assert_eq!((of("resize"), of("overflow")), (2, 4), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_growth_serves_waiting_checkouts() {
    let pool = Tested::new(|settings| (settings.pool_size, settings.max_overflow) = (1, 0));
    let one = pool.get().await.unwrap();
    let waiting = tokio::spawn(pool.get());
    sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    pool.service.resize(2, 1);
    let start = Instant::now();
    let two = waiting.await.unwrap().unwrap();
    assert!(start.elapsed() <= ms(200), "{:?}", start.elapsed());
    let three = pool.get().await.unwrap();
    assert_eq!(pool.counts(), (3, 0));
    drop((one, two, three));
    assert_eq!(pool.counts(), (2, 2));
    assert_eq!(pool.events.closed(), ["overflow"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_reports_no_connect_failure() {
    let pool = Tested::new(|settings| (settings.pool_size, settings.max_overflow) = (1, 0));
    let one = pool.get().await.unwrap();
    let waiting = tokio::spawn(pool.get());
    sleep(Duration::from_secs(3600)).await;
    assert!(!waiting.is_finished());
    assert_eq!(pool.events.failed.load(Ordering::SeqCst), 0);
    drop(one);
    let _two = waiting.await.unwrap().unwrap();
    assert_eq!((pool.counts(), pool.script.dials()), ((1, 0), 1));
}
