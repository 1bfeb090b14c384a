//! An engine that fails where a test wants it to.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;

use super::{Interpreter, Job, calls};
use crate::error::{Error, Result, Step};
use crate::fs::Dir;
use crate::lock;
use crate::protocol::{Call, Fate, Plan, Run};

/// Decides whether the n-th call (from 0) fails, and how. A call that fails does not run.
type Fault = dyn FnMut(usize, &Call) -> Option<Errno> + Send;

/// Decides whether the n-th open of a directory (from 0) fails, and how.
type OpenFault = dyn FnMut(usize, &str) -> Option<Errno> + Send;

pub(crate) struct Faulty {
    /// The engine for calls that wait for the device; `None` for plain calls.
    inner: Option<Arc<dyn Interpreter>>,
    /// The maximum number of bytes of one write.
    takes: usize,
    state: Mutex<Injected>,
}

struct Injected {
    fault: Box<Fault>,
    ran: Vec<Call>,
    open_fault: Box<OpenFault>,
    opened: usize,
    /// Calls like this one wait until the sender is gone.
    held: Option<(Call, Arc<Mutex<Receiver<()>>>)>,
}

impl Faulty {
    pub(crate) fn new(fault: impl FnMut(usize, &Call) -> Option<Errno> + Send + 'static) -> Faulty {
        let state = Injected {
            fault: Box::new(fault),
            ran: Vec::new(),
            open_fault: Box::new(|_, _| None),
            opened: 0,
            held: None,
        };
        Faulty { inner: None, takes: usize::MAX, state: Mutex::new(state) }
    }

    /// Sets faults for opening directories.
    pub(crate) fn set_opening(&self, fault: impl FnMut(usize, &str) -> Option<Errno> + Send + 'static) {
        lock(&self.state).open_fault = Box::new(fault);
    }

    /// Makes calls like this one wait until what this returns is dropped.
    pub(crate) fn hold(&self, call: Call) -> Sender<()> {
        let (held, until) = mpsc::channel();
        lock(&self.state).held = Some((call, Arc::new(Mutex::new(until))));
        held
    }

    pub(crate) fn over(self, inner: Option<Arc<dyn Interpreter>>) -> Faulty {
        Faulty { inner, ..self }
    }

    /// An engine whose writes are short and in which nothing else fails.
    pub(crate) fn short(takes: usize) -> Faulty {
        Faulty { takes, ..Faulty::new(|_, _| None) }
    }

    /// Every call so far, including those that failed.
    pub(crate) fn ran(&self) -> Vec<Call> {
        lock(&self.state).ran.clone()
    }

    /// Records a call and returns its fault, if any.
    fn meets(&self, call: &Call) -> Option<Errno> {
        let held = lock(&self.state).held.clone().filter(|(held, _)| held == call);
        if let Some((_, until)) = held {
            let _ = lock(&until).recv();
        }
        let mut state = lock(&self.state);
        let n = state.ran.len();
        state.ran.push(call.clone());
        (state.fault)(n, call)
    }

    /// One call, through the inner engine if there is one and the call waits for the device.
    fn pass(&self, call: &Call, job: &mut Job) -> Fate {
        if let Some(errno) = self.meets(call) {
            job.watch(call, true);
            return Fate::Failed(errno);
        }
        let waits = matches!(call, Call::SyncFile | Call::CloseFile) || call.is_visible() || call.is_dir_sync();
        match (&self.inner, call) {
            (Some(inner), call) if waits && *call != Call::PublishByLink => {
                let part = Job {
                    name: job.name.clone(),
                    temp: job.temp.clone(),
                    source: job.source.clone(),
                    file: job.file.take(),
                    ..Job::new(Run::new(Plan::of([call.clone()])), &job.dir, &job.poisoned)
                };
                let done = inner.run(part);
                job.file = done.file;
                done.run.report().fate_of(call)
            }
            (_, Call::Write { range, sync }) => {
                let range = range.start..range.end.min(range.start.saturating_add(self.takes));
                calls::run(&Call::Write { range, sync: *sync }, job)
            }
            (_, call) => calls::run(call, job),
        }
    }
}

impl Interpreter for Faulty {
    fn call(&self, call: &Call, job: &mut Job) -> Fate {
        self.pass(call, job)
    }

    fn open_dir(&self, root: &Dir, path: &str) -> nix::Result<Dir> {
        let mut state = lock(&self.state);
        let n = state.opened;
        state.opened += 1;
        match (state.open_fault)(n, path) {
            Some(errno) => Err(errno),
            None => root.open_beneath(path),
        }
    }

    fn sync_dir(&self, dir: &Dir) -> Result<()> {
        match self.meets(&Call::SyncDir) {
            Some(errno) => {
                dir.distrust();
                Err(Error::from_errno(errno, Step::SyncDir, dir.path()))
            }
            None => dir.sync(),
        }
    }
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}
