//! Notices that a pool's runtime has ended.

use std::convert::Infallible;
use std::fmt;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Calls a function when a runtime ends, unless this is dropped before.
pub(super) struct RuntimeWatch {
    /// Never used: dropping it ends the task.
    _pool: oneshot::Sender<Infallible>,
}

impl RuntimeWatch {
    pub(super) fn new(runtime: &Handle, ended: impl FnOnce() + Send + 'static) -> Self {
        let (sender, pool) = oneshot::channel();
        // A runtime that ends drops its tasks.
        let on_drop = OnDrop(Some(ended));
        runtime.spawn(async move {
            let _ = pool.await;
            on_drop.disarm();
        });
        Self { _pool: sender }
    }
}

impl fmt::Debug for RuntimeWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuntimeWatch").finish_non_exhaustive()
    }
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::runtime::Runtime;

    use super::*;

    fn watched(runtime: &Runtime) -> (RuntimeWatch, Arc<AtomicBool>) {
        let ended = Arc::new(AtomicBool::new(false));
        let watch = RuntimeWatch::new(runtime.handle(), {
            let ended = Arc::clone(&ended);
            move || ended.store(true, Ordering::SeqCst)
        });
        (watch, ended)
    }

    #[test]
    fn the_end_of_a_runtime_is_noticed_at_once() {
        let runtime = Runtime::new().unwrap();
        let (_watch, ended) = watched(&runtime);
        assert!(!ended.load(Ordering::SeqCst));
        drop(runtime);
        assert!(ended.load(Ordering::SeqCst));
    }

    #[test]
    fn nothing_is_left_of_a_watch_that_is_dropped() {
        let runtime = Runtime::new().unwrap();
        let (watch, ended) = watched(&runtime);
        drop(watch);
        while runtime.metrics().num_alive_tasks() > 0 {
            std::thread::yield_now();
        }
        drop(runtime);
        assert!(!ended.load(Ordering::SeqCst));
    }
}
