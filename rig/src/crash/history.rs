//! The history of a program's operations, and which contents it allows after a power cut.
//!
//! The rule is durable linearizability (Izraelevitz, Mendes and Scott, DISC 2016). An acknowledged change is there, or
//! a newer one. A change that was begun but not acknowledged is there completely or not at all. Nothing else is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::log_on_disk::LogOnDisk;
use crate::{Chunks, Disk};

/// The files found, by key.
pub type Contents = BTreeMap<String, Vec<u8>>;

/// The effect of an operation on a key: its new content, or `None` for a removal.
pub type Effect = (String, Option<Arc<[u8]>>);

/// An allowed content, and the operation that produced it (`None` for the initial state).
type Allowed = (Option<usize>, Option<Arc<[u8]>>);

/// An operation. All of its effects are acknowledged together.
#[derive(Clone, Debug)]
pub struct Op {
    /// A description, for messages.
    pub what: &'static str,
    /// The log position when it began.
    pub begun: usize,
    /// The log position when it was acknowledged.
    pub acknowledged: Option<usize>,
    /// Its effects.
    pub effects: Vec<Effect>,
    /// The operation that must be complete before any effect of this one is visible.
    pub after: Option<usize>,
}

/// Records operations while the disk records their writes.
#[derive(Debug)]
pub struct Notes {
    disk: Arc<Disk>,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    ops: Vec<Op>,
    base: Option<Chunks>,
    log: Option<LogOnDisk>,
}

impl Notes {
    /// Creates notes for a disk.
    pub fn new(disk: &Arc<Disk>) -> Notes {
        Notes { disk: Arc::clone(disk), noted: Mutex::default() }
    }

    /// Notes where the intent log is. With `is_forced`, the disk takes its writes for writes with forced unit access.
    pub(super) fn log_is_at(&self, log: LogOnDisk, is_forced: bool) {
        self.disk.force(if is_forced { log.ranges() } else { Vec::new() });
        self.noted().log = Some(log);
    }

    /// Starts recording. Everything before must be synced.
    pub fn start(&self) {
        let mut noted = self.noted();
        noted.base = Some(self.disk.record());
    }

    /// Records that an operation begins. Returns its number, for the acknowledgement.
    pub fn begin(&self, what: &'static str, effects: Vec<Effect>, after: Option<usize>) -> usize {
        let mut noted = self.noted();
        noted.ops.push(Op { what, begun: self.disk.position(), acknowledged: None, effects, after });
        noted.ops.len() - 1
    }

    /// Records that an operation returned `Ok`.
    pub fn acknowledge(&self, op: usize) {
        let mut noted = self.noted();
        noted.ops[op].acknowledged = Some(self.disk.position());
        for (_, content) in &noted.ops[op].effects {
            if let Some(head) = content.as_deref().and_then(<[u8]>::first_chunk) {
                self.disk.is_due(*head);
            }
        }
    }

    /// Like `acknowledged`, with effects that are known only afterwards.
    pub fn acknowledge_with(&self, op: usize, effects: Vec<Effect>) {
        self.acknowledge(op);
        self.noted().ops[op].effects = effects;
    }

    /// The number of operations so far.
    pub fn count(&self) -> usize {
        self.noted().ops.len()
    }

    /// Returns the history, with the initial contents, and where the intent log is.
    pub(super) fn finish(self) -> (History, Chunks, Option<LogOnDisk>) {
        let Noted { ops, base, log } = self.noted.into_inner().unwrap_or_else(PoisonError::into_inner);
        (History { ops }, base.unwrap_or_else(|| self.disk.content()), log)
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All recorded operations.
#[derive(Debug)]
pub struct History {
    ops: Vec<Op>,
}

/// A content that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The key of the file.
    pub key: String,
    /// The content found.
    pub found: String,
    /// The contents allowed.
    pub allowed: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}; allowed: {}", self.key, self.found, self.allowed)
    }
}

impl History {
    /// The violations in `found` after a cut at this log position.
    pub fn check(&self, found: &Contents, cut: usize) -> Vec<Violation> {
        let keys: BTreeSet<&String> =
            found.keys().chain(self.ops.iter().flat_map(|op| op.effects.iter().map(|(key, _)| key))).collect();
        let mut violations: Vec<Violation> =
            keys.into_iter().filter_map(|key| self.check_key(key, found.get(key), cut)).collect();
        violations.extend(self.check_order(found));
        violations.extend(self.check_moves(found, cut));
        violations
    }

    fn check_key(&self, key: &str, found: Option<&Vec<u8>>, cut: usize) -> Option<Violation> {
        let allowed = self.allowed(key, cut);
        let is = |content: &Option<Arc<[u8]>>| content.as_deref() == found.map(Vec::as_slice);
        if allowed.iter().any(|(_, content)| is(content)) {
            return None;
        }
        let allowed: Vec<String> = allowed
            .iter()
            .map(|(op, content)| {
                let op = op.map_or("the beginning".to_owned(), |op| self.describe_op(op));
                format!("{} as of {op}", describe_size(content.as_deref()))
            })
            .collect();
        Some(Violation {
            key: key.to_owned(),
            found: self.describe(key, found.map(Vec::as_slice)),
            allowed: allowed.join(", or "),
        })
    }

    /// The allowed contents of a key, each with its operation.
    fn allowed(&self, key: &str, cut: usize) -> Vec<Allowed> {
        let mut allowed = vec![(None, None)];
        for (n, op) in self.ops.iter().enumerate() {
            for (_, content) in op.effects.iter().filter(|(effect, _)| effect == key) {
                let acknowledged = op.acknowledged.is_some_and(|acknowledged| acknowledged <= cut);
                if acknowledged {
                    allowed.clear();
                }
                if acknowledged || op.begun < cut {
                    allowed.push((Some(n), content.clone()));
                }
            }
        }
        allowed
    }

    /// Checks that no effect of an operation is visible before its predecessor is complete.
    fn check_order(&self, found: &Contents) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (n, op) in self.ops.iter().enumerate() {
            let Some(before) = op.after else { continue };
            let seen = op.effects.iter().find(|(key, content)| shows(found, key, content));
            let Some((seen, _)) = seen else { continue };
            for (key, _) in &self.ops[before].effects {
                if self.age(key, found) < Some(before) {
                    violations.push(Violation {
                        key: key.clone(),
                        found: self.describe(key, found.get(key).map(Vec::as_slice)),
                        allowed: format!(
                            "as of {} or later, since {seen} is as of {}, which comes after it",
                            self.describe_op(before),
                            self.describe_op(n)
                        ),
                    });
                }
            }
        }
        violations
    }

    /// Checks that a renamed file has its old name, its new one, or both.
    fn check_moves(&self, found: &Contents, cut: usize) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (n, op) in self.ops.iter().enumerate().filter(|(_, op)| op.begun < cut) {
            let [(from, None), (to, Some(_))] = &op.effects[..] else { continue };
            if !found.contains_key(from) && self.age(to, found) < Some(n) {
                violations.push(Violation {
                    key: to.clone(),
                    found: self.describe(to, found.get(to).map(Vec::as_slice)),
                    allowed: format!("as of {}, since {from} is gone", self.describe_op(n)),
                });
            }
        }
        violations
    }

    /// The last operation that can have produced the current content of a key.
    fn age(&self, key: &str, found: &Contents) -> Option<usize> {
        self.ops.iter().rposition(|op| {
            op.effects
                .iter()
                .any(|(effect, content)| effect == key && content.as_deref() == found.get(key).map(Vec::as_slice))
        })
    }

    fn describe_op(&self, n: usize) -> String {
        let Op { what, begun, acknowledged, .. } = &self.ops[n];
        match acknowledged {
            Some(acknowledged) => format!("operation {n} ({what}, begun at {begun}, acknowledged at {acknowledged})"),
            None => format!("operation {n} ({what}, begun at {begun}, never acknowledged)"),
        }
    }

    fn describe(&self, key: &str, found: Option<&[u8]>) -> String {
        let Some(bytes) = found else { return "nothing".to_owned() };
        let mut contents = self.ops.iter().enumerate().flat_map(|(n, op)| {
            op.effects
                .iter()
                .filter(|(effect, _)| effect == key)
                .filter_map(move |(_, content)| Some((n, content.as_deref()?)))
        });
        let size = describe_size(found);
        if bytes.is_empty() {
            return "an empty file".to_owned();
        }
        if let Some((n, _)) = contents.clone().find(|(_, content)| *content == bytes) {
            return format!("{size} as of {}", self.describe_op(n));
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return format!("{size}, all zero");
        }
        let nearest = contents.by_ref().max_by_key(|(_, content)| common(content, bytes));
        match nearest {
            Some((n, content)) => {
                let same = common(content, bytes);
                format!("{size}, of which the first {same} are as of {} ({} bytes)", self.describe_op(n), content.len())
            }
            None => format!("{size} that no operation wrote"),
        }
    }
}

fn shows(found: &Contents, key: &str, content: &Option<Arc<[u8]>>) -> bool {
    content.is_some() && content.as_deref() == found.get(key).map(Vec::as_slice)
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn describe_size(content: Option<&[u8]>) -> String {
    content.map_or("nothing".to_owned(), |content| format!("{} bytes", content.len()))
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
