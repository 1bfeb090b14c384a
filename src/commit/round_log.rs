//! What a round does in a store with an intent log: conditions are decided, one record holds all changes, then names change.

use std::ops::Range;

use super::in_flight::InFlight;
use super::intent::{IntentLog, Turn};
use super::round::Round;
use super::waves::{Member, waves};
use crate::engine::is_mutant;
use crate::error::{Error, ErrorKind, Step};
use crate::protocol::{Call, Condition, Existing};

impl Round<'_> {
    /// The sizes of the waves: each is admitted, logged and published before the next.
    pub(super) fn waves(&self, log: &IntentLog) -> Vec<usize> {
        let members = self.items.iter().map(|item| {
            let change = item.in_flight.as_ref()?;
            let is_logged = change.job.run.will(&Call::LogChange);
            Some(Member { keys: change.keys(), group: item.position.group, bytes: change.record_len(log), is_logged })
        });
        if is_mutant!(EarlyRefusal, self.core.writer.engine) {
            return vec![self.items.len()];
        }
        waves(members, log.record_max())
    }

    /// At least as many bytes as these changes take in a record.
    pub(super) fn record_len(&self, items: Range<usize>, log: &IntentLog) -> u64 {
        let changes = self.items[items].iter().filter_map(|item| item.in_flight.as_ref());
        changes.map(|change| change.record_len(log)).sum()
    }

    /// Decides the conditions of the changes, in order.
    pub(super) fn admit(&mut self, items: Range<usize>, log: &IntentLog) {
        let core = self.core;
        for at in items.clone() {
            if let Some(mut change) = self.take_unless_refused(at) {
                if is_mutant!(EarlyRefusal, core.writer.engine) && self.creates(&change, items.start..at) {
                    let path = change.job.dir.path_of(&change.job.name);
                    change.cancel(core);
                    self.items[at].result = Some(Err(Error::new(ErrorKind::AlreadyExists, Step::Check, path)));
                    continue;
                }
                match change.admit(core, log, self.failed_syncs) {
                    Ok(()) => self.advance(at, change),
                    Err(error) => {
                        change.cancel(core);
                        self.note(at, Err(error));
                    }
                }
            }
        }
    }

    /// Whether the key of this change must be new, and one of the others has put it.
    fn creates(&self, change: &InFlight, mut others: Range<usize>) -> bool {
        let is_put = |at: usize| self.items[at].in_flight.as_ref().is_some_and(|other| other.key == change.key);
        change.job.run.will(&Call::Admit(Condition::Put(Existing::Refuse))) && others.any(is_put)
    }

    /// Writes the record of the changes that were admitted.
    pub(super) fn log(&mut self, items: Range<usize>, turn: &Turn<'_>) {
        let core = self.core;
        let mut waiting: Vec<&mut InFlight> =
            self.items[items.clone()].iter_mut().filter_map(|item| item.in_flight.as_deref_mut()).collect();
        turn.log(core, &mut waiting);
        for at in items {
            if let Some(change) = self.items[at].in_flight.take() {
                self.advance(at, change);
            }
        }
    }

    /// Ends the changes with this error. None of their names has changed.
    pub(super) fn refuse(&mut self, items: Range<usize>, error: &Error) {
        for at in items {
            if let Some(change) = self.items[at].in_flight.take() {
                change.cancel(self.core);
                self.items[at].result = Some(Err(error.again()));
            }
        }
    }
}
