//! Runs work on one thread for all pools of the process, which lives for as long as there is work.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

type Work = Box<dyn FnOnce() + Send>;

/// The work that waits for its turn; `None` if there is no thread.
static QUEUE: Mutex<Option<VecDeque<Work>>> = Mutex::new(None);

/// Runs the work later, on the thread. Returns `false` if there is none and none can be started.
pub(super) fn run(work: impl FnOnce() + Send + 'static) -> bool {
    let mut queue = queue();
    let is_running = queue.is_some();
    queue.get_or_insert_default().push_back(Box::new(work));
    if is_running {
        return true;
    }
    let thread = thread::Builder::new().name("poolscope-advice".to_owned());
    let started = thread.spawn(run_all).is_ok();
    if !started {
        *queue = None;
    }
    started
}

fn run_all() {
    while let Some(work) = next() {
        // The panic hook reports it. The other work is that of other pools.
        let _ = catch_unwind(AssertUnwindSafe(work));
    }
}

/// Returns the next work. Without any, there is no thread from now on.
fn next() -> Option<Work> {
    let mut queue = queue();
    let work = queue.as_mut().and_then(VecDeque::pop_front);
    if work.is_none() {
        *queue = None;
    }
    work
}

fn queue() -> MutexGuard<'static, Option<VecDeque<Work>>> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn all_work_is_done_one_after_the_other_also_after_a_panic() {
        let (done, results) = mpsc::channel();
        let (first, blocked) = mpsc::channel::<()>();
        run(move || blocked.recv().unwrap());
        run(|| panic!("the work of another pool"));
        for number in 0..100 {
            let done = done.clone();
            assert!(run(move || done
                .send((number, thread::current().id()))
                .unwrap()));
        }
        first.send(()).unwrap();
        let all: Vec<_> = results.iter().take(100).collect();
        assert!(all.iter().map(|(number, _)| *number).eq(0..100));
        let threads: HashSet<_> = all.iter().map(|(_, thread)| *thread).collect();
        assert_eq!(threads.len(), 1);
    }
}
