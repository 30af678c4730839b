//! Waits for futures without a runtime.

use std::{
    pin::pin,
    sync::{Arc, Condvar, Mutex, PoisonError},
    task::{self, Poll, Wake, Waker},
    time::Duration,
};

use super::subject::{Checked, Fault};

/// Calls its argument in the context that the store needs, such as a runtime's.
pub(super) type Context<'a> = dyn Fn(&mut dyn FnMut()) + Send + Sync + 'a;

/// The maximum time that a future may stay pending without being woken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the result of `work` within `context`.
pub(super) fn inside<T>(context: Option<&Context<'_>>, work: impl FnOnce() -> T) -> T {
    let Some(context) = context else { return work() };
    let (mut work, mut output) = (Some(work), None);
    context(&mut || output = work.take().map(|work| work()));
    output.expect("the context does the work once")
}

/// Blocks on `future`. The thread is parked until the future is woken.
pub(super) fn wait<T>(future: impl Future<Output = T>) -> Checked<T> {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut task::Context::from_waker(&waker)) {
            Poll::Ready(output) => return Ok(output),
            Poll::Pending => bell.wait()?,
        }
    }
}

/// A flag that a waker sets.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    fn wait(&self) -> Checked {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = |rung: &mut bool| !*rung;
        let (mut rung, waited) = self
            .rings
            .wait_timeout_while(rung, PATIENCE, silent)
            .unwrap_or_else(PoisonError::into_inner);
        *rung = false;
        if waited.timed_out() {
            return Err(Fault("an operation was not woken for a minute".to_owned()));
        }
        Ok(())
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rings.notify_one();
    }
}
