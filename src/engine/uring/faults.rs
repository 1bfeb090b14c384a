//! Faults of a ring, where a test wants them: requests that are replaced, and completions that say something else.
//!
//! What fails and cancels its link in the kernel fails here by a request that really does (a write to no file), so that it is the
//! kernel that cancels what stands behind. What fails without cancelling becomes a request that does nothing and succeeds.

use std::collections::HashMap;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard};

use io_uring::squeue::Entry;
use io_uring::{opcode, types};
use nix::errno::Errno;

use super::request::request;
use crate::engine::Job;
use crate::protocol::Call;
use crate::protocol::plan::Stage;

/// The place in its stage of a request that is no call: it is there to fail.
const BREAKER: u64 = 0xff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It does not run, and its completion says so. (A close that is not
    /// cancelled does run: whatever it says, the descriptor is gone.)
    Fails(Errno),
    /// It runs, and what is linked behind it, too; but its completion says this.
    Ran(Errno),
    /// A write takes so many bytes and no more, which cancels its link.
    Short(usize),
    /// The ring's thread panics when it hears of its completion.
    Panics,
    /// From now on the ring cannot be entered.
    Closes,
}

/// A request that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) call: Call,
    /// Of the job: the target's, and the temporary file's.
    pub(super) name: CString,
    pub(super) temp: CString,
    /// How many requests with the same name came before it.
    pub(super) n: usize,
    pub(super) fault: Option<Fault>,
}

type Decide = dyn FnMut(&Seen) -> Option<Fault> + Send;

#[derive(Default)]
pub(super) struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    ring: Option<RawFd>,
    decide: Option<Box<Decide>>,
    seen: Vec<Seen>,
    /// By user data: what its completion is to say.
    pending: HashMap<u64, Fault>,
    closed: bool,
}

impl Faults {
    /// From now on `decide` is asked at every request.
    pub(super) fn set(&self, decide: impl FnMut(&Seen) -> Option<Fault> + Send + 'static) {
        let mut state = self.lock();
        state.seen.clear();
        state.decide = Some(Box::new(decide));
    }

    /// Every request since then, in order.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    /// The slots of the ring's file table that hold a file, as the kernel tells it.
    pub(super) fn open_slots(&self) -> Vec<String> {
        let ring = self.lock().ring.expect("the ring is built");
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{ring}")).expect("a ring has one");
        let mut lines = info.lines().skip_while(|line| !line.starts_with("UserFiles:"));
        assert!(lines.next().is_some(), "{info}");
        lines.take_while(|line| line.starts_with(' ')).map(str::to_owned).collect()
    }

    pub(super) fn watch(&self, ring: RawFd) {
        self.lock().ring = Some(ring);
    }

    /// The chain with its faults, and the user data of each request.
    pub(super) fn inject(
        &self,
        slot: u32,
        stage: &Stage,
        job: &Job,
        entries: Vec<Entry>,
    ) -> (Vec<Entry>, impl Fn(usize) -> u64 + use<>) {
        let mut state = self.lock();
        let mut chain = Vec::new();
        for (i, (call, entry)) in stage.iter().zip(entries).enumerate() {
            let tag = u64::from(slot) << 8 | i as u64;
            let fault = state.meets(call, job);
            if let Some(fault) = fault {
                state.pending.insert(tag, fault);
            }
            let entry = match (fault, call) {
                (Some(Fault::Fails(errno)), Call::CloseFile) if errno != Errno::ECANCELED => entry,
                // Not by `Call::severs`, which could be wrong.
                (Some(Fault::Fails(_)), Call::CreateTemp { .. } | Call::Write { .. } | Call::CloseFile) => fails(),
                (Some(Fault::Fails(_)), _) => opcode::Nop::new().build(),
                (Some(Fault::Short(len)), Call::Write { range, sync }) => {
                    let range = range.start..range.end.min(range.start + len);
                    request(&Call::Write { range, sync: *sync }, job, slot)
                }
                _ => entry,
            };
            chain.push((entry, tag));
            let broken = match fault {
                Some(Fault::Fails(errno)) => *call == Call::CloseFile && errno != Errno::ECANCELED,
                Some(Fault::Short(_)) => true,
                _ => false,
            };
            if broken && i + 1 < stage.len() {
                chain.push((fails(), u64::from(slot) << 8 | BREAKER));
            }
        }
        let (entries, tags): (Vec<_>, Vec<_>) = chain.into_iter().unzip();
        (entries, move |i| tags[i])
    }

    /// The completions as a test wants them.
    pub(super) fn told(&self, completions: Vec<(u64, i32)>) -> Vec<(u64, i32)> {
        let mut state = self.lock();
        let calls = completions.into_iter().filter(|(tag, _)| tag & 0xff != BREAKER);
        let told: Vec<(u64, i32, Option<Fault>)> =
            calls.map(|(tag, result)| (tag, result, state.pending.remove(&tag))).collect();
        drop(state);
        let say = |(tag, result, fault)| match fault {
            Some(Fault::Fails(errno) | Fault::Ran(errno)) if result != -nix::libc::ECANCELED => (tag, -(errno as i32)),
            Some(Fault::Panics) => panic!("on purpose"),
            _ => (tag, result),
        };
        told.into_iter().map(say).collect()
    }

    pub(super) fn enters(&self) -> io::Result<()> {
        if self.lock().closed { Err(Errno::EBADF.into()) } else { Ok(()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn meets(&mut self, call: &Call, job: &Job) -> Option<Fault> {
        let n = self.seen.iter().filter(|seen| seen.name == job.name).count();
        let (name, temp) = (job.name.clone(), job.temp.clone());
        let mut seen = Seen { call: call.clone(), name, temp, n, fault: None };
        seen.fault = self.decide.as_mut().and_then(|decide| decide(&seen));
        self.closed |= seen.fault == Some(Fault::Closes);
        self.seen.push(seen.clone());
        seen.fault
    }
}

/// A request that fails and cancels its link.
fn fails() -> Entry {
    static BYTE: [u8; 1] = [0];
    opcode::Write::new(types::Fd(-1), BYTE.as_ptr(), 1).build()
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults")
    }
}
