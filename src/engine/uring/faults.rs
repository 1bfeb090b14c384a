//! Fault injection: queues that replace requests and results where a test asks for it, on a real ring.
//!
//! A fault that cancels its link in the kernel is injected as a request that really fails (a write to a bad descriptor),
//! so that the kernel itself cancels what is linked behind it. A fault that does not cancel its link becomes a no-op,
//! whose result is replaced.

use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;

use super::request::Request;
use super::ring::{Kept, Kernel, Queues, tag};
use crate::engine::Job;
use crate::lock;
use crate::protocol::Call;

/// The index of a request that stands for no call. It only fails, to break its chain.
const BREAKER: u64 = 0xff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The call does not run, and its completion carries this error. (A close that is not cancelled does run: whatever
    /// its result, the descriptor is gone.)
    Fails(Errno),
    /// The call runs, and so does what is linked behind it; but its completion carries this error.
    Ran(Errno),
    /// A write takes only so many bytes, which cancels its link.
    Short(usize),
    /// The ring's thread panics when it reaps the completion.
    Panics,
    /// From now on the ring cannot be entered.
    Closes,
}

/// A request for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenRequest {
    pub(super) call: Call,
    /// The name of the job's target.
    pub(super) name: CString,
    /// The name of the job's temporary file.
    pub(super) temp: CString,
    /// How many requests for the same target came before it.
    pub(super) n: usize,
    pub(super) fault: Option<Fault>,
}

type Decide = dyn FnMut(&SeenRequest) -> Option<Fault> + Send;

/// The faults to inject, and a record of the requests. The test and the ring's thread share it.
#[derive(Default)]
pub(super) struct Faults(Mutex<FaultsState>);

#[derive(Default)]
struct FaultsState {
    ring: Option<RawFd>,
    decide: Option<Box<Decide>>,
    seen: Vec<SeenRequest>,
    /// By tag: the fault of a request in flight.
    pending: HashMap<u64, Fault>,
    closed: bool,
}

impl Faults {
    /// From now on `decide` picks the fault of every request.
    pub(super) fn set(&self, decide: impl FnMut(&SeenRequest) -> Option<Fault> + Send + 'static) {
        let mut state = lock(&self.0);
        state.seen.clear();
        state.decide = Some(Box::new(decide));
    }

    /// Every request since then, in order.
    pub(super) fn seen(&self) -> Vec<SeenRequest> {
        lock(&self.0).seen.clone()
    }

    /// The slots of the ring's file table that hold a file, from the kernel.
    pub(super) fn open_slots(&self) -> Vec<String> {
        let ring = lock(&self.0).ring.expect("the ring is built");
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{ring}")).expect("a ring has one");
        let mut lines = info.lines().skip_while(|line| !line.starts_with("UserFiles:"));
        assert!(lines.next().is_some(), "{info}");
        lines.take_while(|line| line.starts_with(' ')).map(str::to_owned).collect()
    }
}

/// The kernel's queues with faults. A stage without a fault takes the shipped path.
pub(super) struct FaultyQueues {
    kernel: Kernel,
    faults: Arc<Faults>,
}

impl FaultyQueues {
    pub(super) fn new(kernel: Kernel, faults: Arc<Faults>) -> FaultyQueues {
        lock(&faults.0).ring = Some(kernel.as_raw_fd());
        FaultyQueues { kernel, faults }
    }
}

impl Queues for FaultyQueues {
    fn push_stage(&mut self, slot: u32, stage: &[Call], job: &Kept<'_, Job>) {
        let mut state = lock(&self.faults.0);
        let faults: Vec<Option<Fault>> = stage.iter().map(|call| state.choose(call, job)).collect();
        if faults.iter().all(Option::is_none) {
            return self.kernel.push_stage(slot, stage, job);
        }
        let mut chain = Vec::new();
        for (i, (call, fault)) in stage.iter().zip(faults).enumerate() {
            if let Some(fault) = fault {
                state.pending.insert(tag(slot, i), fault);
            }
            chain.push(replaced(call, fault, job, slot).tagged(tag(slot, i)));
            let breaks_link = match fault {
                Some(Fault::Fails(errno)) => *call == Call::CloseFile && errno != Errno::ECANCELED,
                Some(Fault::Short(_)) => true,
                _ => false,
            };
            if breaks_link && i + 1 < stage.len() {
                chain.push(failing().tagged(tag(slot, BREAKER as usize)));
            }
        }
        self.kernel.push(chain);
    }

    fn push(&mut self, chain: Vec<Request>) {
        self.kernel.push(chain);
    }

    fn enter(&mut self, want: usize) -> io::Result<Vec<u64>> {
        if lock(&self.faults.0).closed {
            return Err(Errno::EBADF.into());
        }
        let refused = self.kernel.enter(want)?;
        Ok(refused.into_iter().filter(|tag| !is_breaker(*tag)).collect())
    }

    fn reap(&mut self) -> Vec<(u64, i32)> {
        let completions = self.kernel.reap().into_iter().filter(|(tag, _)| !is_breaker(*tag));
        let mut state = lock(&self.faults.0);
        let faulty: Vec<_> = completions.map(|(tag, result)| (tag, result, state.pending.remove(&tag))).collect();
        drop(state);
        let replace = |(tag, result, fault)| match fault {
            Some(Fault::Fails(errno) | Fault::Ran(errno)) if result != -(Errno::ECANCELED as i32) => {
                (tag, -(errno as i32))
            }
            Some(Fault::Panics) => panic!("on purpose"),
            _ => (tag, result),
        };
        faulty.into_iter().map(replace).collect()
    }
}

impl FaultsState {
    fn choose(&mut self, call: &Call, job: &Job) -> Option<Fault> {
        let n = self.seen.iter().filter(|seen| seen.name == job.name).count();
        let (name, temp) = (job.name.clone(), job.temp.clone());
        let mut seen = SeenRequest { call: call.clone(), name, temp, n, fault: None };
        seen.fault = self.decide.as_mut().and_then(|decide| decide(&seen));
        self.closed |= seen.fault == Some(Fault::Closes);
        self.seen.push(seen.clone());
        seen.fault
    }
}

/// The request for a call with this fault.
fn replaced(call: &Call, fault: Option<Fault>, job: &Kept<'_, Job>, slot: u32) -> Request {
    match (fault, call) {
        (Some(Fault::Fails(errno)), Call::CloseFile) if errno != Errno::ECANCELED => Request::of(call, job, slot),
        // The calls that cancel their link. Not from `Call::severs`, which is under test.
        (Some(Fault::Fails(_)), Call::CreateTemp { .. } | Call::Write { .. } | Call::CloseFile) => failing(),
        (Some(Fault::Fails(_)), _) => Request::nop(),
        (Some(Fault::Short(len)), Call::Write { range, sync }) => {
            let range = range.start..range.end.min(range.start + len);
            Request::of(&Call::Write { range, sync: *sync }, job, slot)
        }
        _ => Request::of(call, job, slot),
    }
}

/// A request that fails and cancels its link.
fn failing() -> Request {
    Request::write_byte(-1)
}

/// The wake-up's indices are smaller.
fn is_breaker(tag: u64) -> bool {
    tag & 0xff == BREAKER
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}
