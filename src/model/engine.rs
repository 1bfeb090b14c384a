//! An engine for a real committer. It makes plain calls on real files and mirrors each on a disk of the model. Syncs run only in
//! the model.

use std::ffi::CStr;
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::disk::{BLOCKS, Content, DirId, Disk, FileId, Name, Operands, Place};
use super::history::{History, Moment};
use super::promise::{Effect, Progress, Standing, Unit};
use crate::engine::{Faulty, Interpreter, Job};
use crate::fs::Dir;
use crate::lock;
use crate::protocol::{Call, Fate};

/// Decides whether the n-th call (from 0) fails, and how.
pub(super) type Fault = Box<dyn FnMut(usize, &Call) -> Option<Errno> + Send>;

pub(super) struct Model {
    /// Plain calls.
    inner: Faulty,
    root: PathBuf,
    state: Mutex<ModelState>,
}

struct ModelState {
    disk: Disk,
    fault: Fault,
    /// The names behind the numbers of the model.
    names: Vec<(String, Name)>,
    /// Files by their inode numbers.
    files: Vec<(u64, FileId)>,
    /// Published contents, with the committer's versions.
    published: Vec<Content>,
    /// What the intent log holds, in order.
    logged: Vec<(Place, Option<Content>)>,
    calls: Vec<Call>,
    units: Vec<Unit>,
    progress: Progress,
    moments: Vec<Moment>,
}

/// The maximum number of operations of a run.
const OPERATIONS_MAX: usize = 64;

impl Model {
    pub(super) fn new(root: &Path, disk: Disk, fault: Fault) -> Model {
        let state = ModelState {
            fault,
            names: Vec::new(),
            files: Vec::new(),
            published: Vec::new(),
            logged: Vec::new(),
            calls: Vec::new(),
            units: Vec::new(),
            progress: Progress::new(OPERATIONS_MAX),
            moments: vec![Moment::new("the beginning".into(), &disk, &Progress::new(OPERATIONS_MAX))],
            disk,
        };
        Model { inner: Faulty::new(|_, _| None), root: root.to_owned(), state: Mutex::new(state) }
    }

    /// Announces operations, one effect each with its group. Returns their numbers.
    pub(super) fn begin(&self, effects: impl IntoIterator<Item = (usize, Effect)>) -> Vec<usize> {
        let mut state = lock(&self.state);
        let batch = state.units.len();
        let begin = |(group, effect)| {
            let op = state.units.len();
            state.units.push(Unit { op, batch, group, effect });
            state.progress.begin(op);
            op
        };
        effects.into_iter().map(begin).collect()
    }

    /// Records the results of operations.
    pub(super) fn end(&self, operations: &[usize], standings: &[Standing]) {
        let mut state = lock(&self.state);
        for (op, standing) in operations.iter().zip(standings) {
            state.progress.standings[*op] = *standing;
        }
        state.note(format!("told {operations:?}: {standings:?}"));
    }

    /// The intent log has these live changes now: of a key, its content or its removal.
    pub(super) fn set_logged(&self, what: &str, changes: impl IntoIterator<Item = (String, Option<Content>)>) {
        let mut state = lock(&self.state);
        state.logged = changes
            .into_iter()
            .map(|(key, content)| {
                let (dir, name) = key.split_once('/').expect("the keys of the tests");
                let name = Name::Key(name[1..].parse().expect("the keys of the tests"));
                (Place { dir: DirId::from(dir == "b"), name }, content)
            })
            .collect();
        let contents: Vec<Content> = state.logged.iter().filter_map(|(_, content)| *content).collect();
        state.published.extend(contents);
        state.note(what.to_owned());
    }

    /// Adds a file that was written through a guard.
    pub(super) fn adopt(&self, dir: &Dir, temp: &CStr, file: impl AsFd, content: Content) {
        let mut state = lock(&self.state);
        let place = Place { dir: self.dir(dir), name: state.name(temp) };
        let number = state.add(file);
        state.disk.add(place, number, content);
        state.note(format!("a guard writes {place:?}"));
    }

    /// Every call so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        lock(&self.state).calls.clone()
    }

    pub(super) fn history(&self) -> History {
        let state = lock(&self.state);
        let stamped = |effect: Effect| match effect {
            Effect::Put { place, content, existing } => {
                let same = state.published.iter().find(|other| other.bytes == content.bytes).copied();
                Effect::Put { place, content: same.unwrap_or(content), existing }
            }
            effect => effect,
        };
        let units = state.units.iter().map(|unit| Unit { effect: stamped(unit.effect), ..*unit }).collect();
        History { units, moments: state.moments.clone() }
    }

    /// Directories by name: the tests have `a` and `b`.
    fn dir(&self, dir: &Dir) -> DirId {
        DirId::from(dir.path().strip_prefix(&self.root).is_ok_and(|path| path == Path::new("b")))
    }

    fn pass(&self, call: &Call, job: &mut Job) -> Fate {
        let mut state = lock(&self.state);
        let to = Place { dir: self.dir(&job.dir), name: state.name(&job.name) };
        let mut bytes = [0; BLOCKS];
        bytes[..job.bytes.len()].copy_from_slice(&job.bytes.chunks().concat());
        let source = job.source.as_ref().map(|(dir, name)| Place { dir: self.dir(dir), name: state.name(name) });
        let file = job.file.as_ref().map_or(FileId::MAX, |file| state.number(file));
        let mut operands = Operands { to, temp: state.name(&job.temp), source, bytes, file };
        let n = state.calls.len();
        state.calls.push(call.clone());
        let ModelState { fault, disk, .. } = &mut *state;
        let fate = match fault(n, call) {
            Some(errno) => {
                disk.fail(call, &operands, errno);
                job.watch(call, true);
                Fate::Failed(errno)
            }
            // Syncs run in the model only.
            None if is_sync(call) => disk.apply(call, &operands).map_or_else(
                |errno| {
                    job.watch(call, true);
                    Fate::Failed(errno)
                },
                Fate::Done,
            ),
            // The real files know nothing of this failure.
            None if disk.is_dead() => disk.apply(call, &operands).map_or_else(Fate::Failed, Fate::Done),
            None => {
                let fate = self.inner.call(call, job);
                if let (Call::CreateTemp { .. }, Some(file)) = (call, &job.file) {
                    operands.file = state.add(file);
                }
                // Not every system has a rename that refuses to replace.
                if (call, &fate) == (&Call::REFUSE, &Fate::Failed(Errno::EINVAL)) {
                    return fate;
                }
                // The owner that the file has already is not set.
                if let (Call::SetOwner(owner), Some(file)) = (call, &job.file)
                    && fstat(file).is_ok_and(|stat| (stat.st_uid, stat.st_gid) == (owner.uid, owner.gid))
                {
                    return fate;
                }
                let modelled = state.disk.apply(call, &operands).map_or_else(Fate::Failed, Fate::Done);
                assert_eq!(modelled, fate, "{call:?}: the model, and what the system does");
                fate
            }
        };
        if let (true, Fate::Done(_), Some(file)) = (call.is_visible(), &fate, state.disk.file_at(to)) {
            let content = state.disk.files[&file].now;
            state.published.push(content);
        }
        state.note(format!("{call:?} {to:?} -> {fate:?}"));
        fate
    }
}

impl ModelState {
    fn note(&mut self, what: String) {
        let moment = Moment::new(what, &self.disk, &self.progress).with_log(&self.logged);
        self.moments.push(moment);
    }

    /// `k3` is key 3. Every temporary name gets a number.
    fn name(&mut self, name: &CStr) -> Name {
        let name = name.to_str().expect("the names of the tests");
        if let Some(key) = name.strip_prefix('k') {
            return Name::Key(key.parse().expect("the names of the tests"));
        }
        if let Some((_, known)) = self.names.iter().find(|(known, _)| known == name) {
            return *known;
        }
        let new = Name::Temp(u8::try_from(self.names.len()).expect("not so many"));
        self.names.push((name.to_owned(), new));
        new
    }

    fn add(&mut self, file: impl AsFd) -> FileId {
        let inode = inode(file);
        let number = FileId::try_from(self.files.len() + 16).expect("not so many");
        self.files.push((inode, number));
        number
    }

    fn number(&self, file: impl AsFd) -> FileId {
        let inode = inode(file);
        // The last match: the system may reuse inode numbers.
        self.files.iter().rev().find(|(known, _)| *known == inode).map_or(FileId::MAX, |(_, number)| *number)
    }
}

#[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "not the same type on every system")]
fn inode(file: impl AsFd) -> u64 {
    fstat(file).map_or(0, |stat| stat.st_ino as u64)
}

fn is_sync(call: &Call) -> bool {
    let of_file = matches!(call, Call::StartSync | Call::WriteOut | Call::SyncRange | Call::SyncFile);
    of_file || matches!(call, Call::SyncFilesystem | Call::SyncPresent) || call.is_dir_sync()
}

impl Interpreter for Model {
    fn call(&self, call: &Call, job: &mut Job) -> Fate {
        self.pass(call, job)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Model")
    }
}
