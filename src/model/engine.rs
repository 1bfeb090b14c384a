//! An engine for a real committer. It makes plain calls on real files and mirrors each on a disk of the model. Syncs run only in
//! the model.

use std::ffi::CStr;
use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::disk::{BLOCKS, Content, DirId, Disk, FileId, Name, Operands, Place};
use super::history::{History, Moment};
use super::observed::Image;
use super::promise::{Effect, Progress, Standing, Unit};
use crate::engine::{Faulty, Interpreter, Job};
use crate::fs::Dir;
use crate::lock;
use crate::protocol::{Call, Fate};

/// Decides whether the n-th call (from 0) fails, and how.
pub(super) type Fault = Box<dyn FnMut(usize, &Call) -> Option<Errno> + Send>;

/// What happens in the middle of a checkpoint.
type Meanwhile = Box<dyn FnOnce() + Send>;

pub(super) struct Model {
    /// Plain calls.
    inner: Faulty,
    root: PathBuf,
    state: Mutex<ModelState>,
    /// What to do when so many steps of a checkpoint were made.
    meanwhile: Mutex<Option<(usize, Meanwhile)>>,
}

struct ModelState {
    disk: Disk,
    fault: Fault,
    /// The names behind the numbers of the model.
    names: Vec<(String, Name)>,
    /// Files by their inode numbers.
    files: Vec<(u64, FileId)>,
    /// The numbers for the first of each: behind those that the disk has.
    first_temp: usize,
    first_file: usize,
    /// Published contents, with the committer's versions.
    published: Vec<Content>,
    /// The intent log.
    log: Option<Arc<Image>>,
    calls: Vec<Call>,
    units: Vec<Unit>,
    progress: Progress,
    moments: Vec<Moment>,
}

/// The maximum number of operations of a run.
const OPERATIONS_MAX: usize = 64;

impl Model {
    pub(super) fn new(root: &Path, disk: Disk, fault: Fault) -> Model {
        let temps =
            disk.names.keys().filter_map(|place| if let Name::Temp(temp) = place.name { Some(temp) } else { None });
        let state = ModelState {
            fault,
            names: Vec::new(),
            files: Vec::new(),
            first_temp: temps.max().map_or(0, |last| usize::from(last) + 1),
            first_file: disk.files.keys().max().map_or(0, |last| usize::from(*last) + 1),
            published: Vec::new(),
            log: None,
            calls: Vec::new(),
            units: Vec::new(),
            progress: Progress::new(OPERATIONS_MAX),
            moments: vec![Moment::new("the beginning".into(), &disk, &Progress::new(OPERATIONS_MAX))],
            disk,
        };
        Model {
            inner: Faulty::new(|_, _| None),
            root: root.to_owned(),
            state: Mutex::new(state),
            meanwhile: Mutex::default(),
        }
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

    /// This is in the intent log now.
    pub(super) fn set_log(&self, what: String, image: Image) {
        let mut state = lock(&self.state);
        state.published.extend(image.contents());
        state.log = Some(Arc::new(image));
        state.note(what);
    }

    /// Lets `act` run in the middle of the next checkpoint, after so many of its steps.
    pub(super) fn set_meanwhile(&self, steps: usize, act: impl FnOnce() + Send + 'static) {
        *lock(&self.meanwhile) = Some((steps, Box::new(act)));
    }

    /// Whether a checkpoint has had so few steps that nothing happened in its middle.
    pub(super) fn forget_meanwhile(&self) -> bool {
        lock(&self.meanwhile).take().is_some()
    }

    /// A checkpoint is about to make a step, or has made the last one.
    pub(super) fn step(&self) {
        let mut meanwhile = lock(&self.meanwhile);
        match meanwhile.take() {
            Some((0, act)) => {
                drop(meanwhile);
                act();
            }
            later => *meanwhile = later.map(|(steps, act)| (steps - 1, act)),
        }
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
        let moment = Moment::new(what, &self.disk, &self.progress).with_log(self.log.clone());
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
        let new = Name::Temp(u8::try_from(self.names.len() + self.first_temp).expect("not so many"));
        self.names.push((name.to_owned(), new));
        new
    }

    fn add(&mut self, file: impl AsFd) -> FileId {
        let inode = inode(file);
        let number = FileId::try_from(self.files.len() + self.first_file).expect("not so many");
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
        if *call != Call::SyncFilesystem {
            return self.pass(call, job);
        }
        self.step();
        let fate = self.pass(call, job);
        self.step();
        fate
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Model")
    }
}
