//! Answers that wait: one thread on which flushes take their time, while others are served.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use fuser::ReplyEmpty;
use nix::sys::prctl;

/// Answers each flush when its delay has passed since it came.
#[derive(Debug)]
pub(crate) struct Flusher {
    delay: Duration,
    /// All delays are the same, so what comes first is due first: a channel is queue enough.
    waiting: Sender<(Instant, ReplyEmpty)>,
}

impl Flusher {
    /// Starts the thread, which ends with the flusher.
    pub(crate) fn start(delay: Duration) -> io::Result<Self> {
        let (waiting, due) = mpsc::channel::<(Instant, ReplyEmpty)>();
        thread::Builder::new().name("flusher".into()).spawn(move || {
            // Linux lets threads oversleep by 50 µs to save wake-ups: too much beside flushes of some 100 µs. Where this
            // is refused, they take so much longer.
            let _ = prctl::set_timerslack(1);
            for (when, reply) in due {
                thread::sleep(when.saturating_duration_since(Instant::now()));
                reply.ok();
            }
        })?;
        Ok(Self { delay, waiting })
    }

    /// Answers `reply` later; at once without a delay.
    pub(crate) fn answer(&self, reply: ReplyEmpty) {
        if self.delay.is_zero() {
            reply.ok();
        } else if let Err(mpsc::SendError((_, reply))) = self.waiting.send((Instant::now() + self.delay, reply)) {
            // Only if the thread panicked. A flush that did not take its time would falsify what is measured.
            reply.error(fuser::Errno::EIO);
        }
    }
}
