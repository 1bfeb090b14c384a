//! A job on its way through the ring: what its completions mean for it.

use std::os::fd::IntoRawFd;
use std::sync::mpsc::SyncSender;

use nix::errno::Errno;

use super::Reply;
use super::request::has_request;
use crate::engine::Job;
use crate::protocol::plan::Stage;
use crate::protocol::{Call, Fate};

/// A job for the ring, and where it goes afterwards.
#[derive(Debug)]
pub(super) struct ChainJob {
    pub(super) job: Job,
    pub(super) reply: SyncSender<Reply>,
}

impl ChainJob {
    /// Returns the job to its caller, who may be gone.
    pub(super) fn send_back(self, retired: bool) {
        let ChainJob { job, reply } = self;
        let _ = reply.send(Reply { job, retired });
    }
}

/// A job whose requests are in flight.
pub(super) struct Flight {
    /// `ring.rs` relies on it that nothing here drops the job, or changes its names or content.
    pub(super) chain_job: ChainJob,
    pub(super) stage: Stage,
    fates: Vec<Option<Fate>>,
    /// Requests without a completion yet.
    outstanding: usize,
    /// Whether the flight's slot of the file table holds a file.
    slot_open: bool,
    /// Whether the stage is only the close of a slot that a broken chain left open.
    closing: bool,
}

impl Flight {
    pub(super) fn new(chain_job: ChainJob) -> Flight {
        Flight { chain_job, stage: Vec::new(), fates: Vec::new(), outstanding: 0, slot_open: false, closing: false }
    }

    /// The requests of this stage are about to be pushed.
    pub(super) fn begin(&mut self, stage: Stage, closing: bool) {
        self.fates = vec![None; stage.len()];
        self.outstanding = stage.len();
        self.stage = stage;
        self.closing = closing;
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Records a failed sync of a directory at once.
    pub(super) fn watch(&self, index: usize, result: i32) {
        self.chain_job.job.watch(&self.stage[index], matches!(fate(result), Fate::Failed(_)));
    }

    /// Takes the result of a request. Returns whether it was the last one of the stage.
    pub(super) fn complete(&mut self, index: usize, result: i32) -> bool {
        let fate = match (&self.stage[index], fate(result)) {
            // An interrupted close has closed the descriptor (close(2)), and the data was synced before. But it cancels
            // what is linked behind it.
            (Call::CloseFile, Fate::Failed(Errno::EINTR)) if index + 1 == self.stage.len() => Fate::Done(0),
            (_, fate) => fate,
        };
        match (&self.stage[index], &fate) {
            (Call::CreateTemp { .. }, Fate::Done(_)) => self.slot_open = true,
            // A close that ran has closed the descriptor, whatever its result.
            (Call::CloseFile, Fate::Done(_) | Fate::Failed(_)) => {
                self.slot_open = false;
                if let Some(file) = self.chain_job.job.file.take() {
                    let _closed_by_the_kernel = file.into_raw_fd();
                }
            }
            _ => {}
        }
        self.fates[index] = Some(fate);
        self.outstanding -= 1;
        self.outstanding == 0
    }

    /// Ends a stage whose requests have all completed. Returns what the ring runs next, and whether that only closes the
    /// slot; `None` if the job must leave the ring.
    pub(super) fn end_stage(&mut self, retired: bool) -> Option<(Stage, bool)> {
        if self.closing {
            return None;
        }
        let stage = std::mem::take(&mut self.stage);
        let fates = self.fates.drain(..).map(|fate| fate.expect("every request has completed")).collect();
        let Job { run, bytes, .. } = &mut self.chain_job.job;
        run.record(stage, fates);
        if retired {
            return None;
        }
        match run.next_stage_if(|stage| has_request(stage, bytes)) {
            Some(stage) => Some((stage, false)),
            None => self.slot_open.then(|| (vec![Call::CloseFile], true)),
        }
    }
}

fn fate(result: i32) -> Fate {
    match result {
        n @ 0.. => Fate::Done(n as usize),
        n => match Errno::from_raw(-n) {
            Errno::ECANCELED => Fate::Skipped,
            errno => Fate::Failed(errno),
        },
    }
}
