//! Delays the replies to flushes on one thread, while other requests are served.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use fuser::ReplyEmpty;
use nix::sys::prctl;

/// Replies to each flush when its delay has passed.
#[derive(Debug)]
pub(crate) struct Flusher {
    delay: Duration,
    /// All delays are equal, so flushes are due in order of arrival and a channel suffices.
    waiting: Sender<(Instant, ReplyEmpty)>,
}

impl Flusher {
    /// Starts the thread. It ends when the flusher is dropped.
    pub(crate) fn start(delay: Duration) -> io::Result<Self> {
        let (waiting, due) = mpsc::channel::<(Instant, ReplyEmpty)>();
        thread::Builder::new().name("flusher".into()).spawn(move || {
            // Linux lets threads oversleep by 50 µs to save wake-ups, which is too much for flushes of about 100 µs. If
            // changing that is refused, flushes take that much longer.
            let _ = prctl::set_timerslack(1);
            for (when, reply) in due {
                thread::sleep(when.saturating_duration_since(Instant::now()));
                reply.ok();
            }
        })?;
        Ok(Self { delay, waiting })
    }

    /// Sends `reply` after the delay; at once if there is none.
    pub(crate) fn answer(&self, reply: ReplyEmpty) {
        if self.delay.is_zero() {
            reply.ok();
        } else if let Err(mpsc::SendError((_, reply))) = self.waiting.send((Instant::now() + self.delay, reply)) {
            // The thread panicked. Do not reply early: a flush without its delay would falsify measurements.
            reply.error(fuser::Errno::EIO);
        }
    }
}
