//! SQLite's work, done on threads that may block, for whoever waits on whatever kind of runtime.
//!
//! A statement that nobody waits for any more is finished first: its connection must not go back into the pool while a thread is
//! using it. The library's own way to wait for that panics on runtimes of one thread, and requests are served on such: a client
//! that hangs up in the middle of a query drops it there.

use std::error::Error;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};

use diesel_async::sync_connection_wrapper::SpawnBlocking;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinError, JoinHandle};

/// Where blocking work goes.
pub(crate) struct Aside;

impl SpawnBlocking for Aside {
    fn spawn_blocking<'a, R>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, Result<R, Box<dyn Error + Send + Sync + 'static>>>
    where
        R: Send + 'static,
    {
        let over = Arc::new(Over::default());
        // Told when the work is over, and also when it panics or is never begun.
        let tell = Tell(Arc::clone(&over));
        let work = tokio::task::spawn_blocking(move || {
            let _tell = tell;
            task()
        });
        Statement { work, over }.map_err(Box::from).boxed()
    }

    fn get_runtime() -> Self {
        Self
    }
}

/// Whether a piece of work is over.
#[derive(Default)]
struct Over(Mutex<bool>, Condvar);

impl Over {
    fn wait(&self) {
        let over = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.1.wait_while(over, |over| !*over));
    }
}

struct Tell(Arc<Over>);

impl Drop for Tell {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }
}

/// A piece of work that is waited for.
struct Statement<R> {
    work: JoinHandle<R>,
    over: Arc<Over>,
}

impl<R> Future for Statement<R> {
    type Output = Result<R, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().work).poll(context)
    }
}

impl<R> Drop for Statement<R> {
    fn drop(&mut self) {
        if self.work.is_finished() {
            return;
        }
        let several =
            Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        if several {
            // Others take over what else this thread had to do.
            tokio::task::block_in_place(|| self.over.wait());
        } else {
            self.over.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    /// Begins work, waits for it for a moment, and goes away; whether it was over then.
    async fn hang_up() -> bool {
        let done = Arc::new(AtomicBool::new(false));
        let doing = Arc::clone(&done);
        let work = Aside.spawn_blocking(move || {
            std::thread::sleep(Duration::from_millis(150));
            doing.store(true, Ordering::SeqCst);
        });
        assert!(tokio::time::timeout(Duration::from_millis(10), work).await.is_err());
        done.load(Ordering::SeqCst)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_dropped_on_a_runtime_of_one_thread_is_finished_first() {
        assert!(hang_up().await);
        assert!(Aside.spawn_blocking(|| 7).await.is_ok_and(|seven| seven == 7));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_dropped_on_a_runtime_of_several_is_finished_first() {
        assert!(tokio::spawn(hang_up()).await.unwrap());
        assert!(hang_up().await);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn work_that_panics_is_over() {
        let work = Aside.spawn_blocking(|| {
            std::thread::sleep(Duration::from_millis(50));
            unreachable!("as it is meant to be");
        });
        let waited: Result<Result<(), _>, _> = tokio::time::timeout(Duration::from_millis(5), work).await;
        assert!(waited.is_err(), "and whoever drops it does not wait for ever");
    }
}
