//! Ctrl-C, SIGTERM and SIGHUP: a command completes its current change or discards it.

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

/// Watches for signals that ask the process to terminate.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    signal: Arc<AtomicI32>,
    /// The read end of a pipe that reaches end-of-file when a signal arrives.
    ended: Arc<OwnedFd>,
}

impl Interrupt {
    /// Blocks the signals and starts a thread that waits for them. Call this before starting any other thread, so that
    /// all threads inherit the mask. A second signal ends the process at once; the next open of the store removes what
    /// it leaves behind.
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

    /// Returns an error once a signal has arrived.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        match self.signal.load(Ordering::Acquire) {
            0 => Ok(()),
            signal => Err(Problem::Interrupted(signal)),
        }
    }

    /// Blocks until `input` is readable or a signal arrives.
    pub(crate) fn wait_readable(&self, input: impl AsFd) -> Result<(), Problem> {
        loop {
            self.check()?;
            let watched = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut fds = [watched(input.as_fd()), watched(self.ended.as_fd())];
            match poll(&mut fds, PollTimeout::NONE) {
                // On an error or hang-up, too: the read reports it.
                Ok(_) if fds[0].any() != Some(false) => return self.check(),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Problem::Read(format!("cannot wait for input: {errno}"))),
            }
        }
    }
}
