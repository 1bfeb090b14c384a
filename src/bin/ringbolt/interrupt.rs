//! Ctrl-C and its relatives: the work in hand is finished or thrown away, never left half done.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::pipe;

use crate::problem::Problem;

/// Notices the signals that ask a program to end.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    signal: Arc<AtomicI32>,
    /// Readable at its end once a signal has come.
    ended: Arc<OwnedFd>,
}

impl Interrupt {
    /// Takes the signals over. Call it before any other thread is started, so that all inherit the mask. A second signal
    /// ends the process at once; what it leaves behind is swept when the store is next opened.
    pub(crate) fn watch() -> io::Result<Interrupt> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let (ended, end) = pipe()?;
        let noticed = Arc::new(AtomicI32::new(0));
        let watch = Interrupt { signal: Arc::clone(&noticed), ended: Arc::new(ended) };
        thread::Builder::new().name("signals".into()).spawn(move || {
            let mut end = Some(end);
            while let Ok(signal) = signals.wait() {
                if noticed.swap(signal as i32, Ordering::Release) != 0 {
                    std::process::exit(128 + signal as i32);
                }
                drop(end.take());
            }
        })?;
        Ok(watch)
    }

    /// An error once a signal has come.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        match self.signal.load(Ordering::Acquire) {
            0 => Ok(()),
            signal => Err(Problem::Interrupted(signal)),
        }
    }

    /// Waits until `input` can be read without blocking, or a signal comes.
    pub(crate) fn wait_readable(&self, input: impl AsFd) -> Result<(), Problem> {
        loop {
            self.check()?;
            let watched = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut fds = [watched(input.as_fd()), watched(self.ended.as_fd())];
            match poll(&mut fds, PollTimeout::NONE) {
                // Also at an error or hang-up: the read then tells.
                Ok(_) if fds[0].any() != Some(false) => return self.check(),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Problem::Read(format!("wait for input failed: {errno}"))),
            }
        }
    }
}
