//! One durable replace: its calls one by one, and whole, by each engine.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::close;

use super::turn::{Latencies, Pace, Subject, nanos};
use crate::engine::Selected;
use crate::file::writer::{Content, Writer};
use crate::fs::dir::Dir;
use crate::fs::sys;
use crate::fs::temp::Maker;
use crate::protocol::options::PutOptions;
use crate::protocol::{Medium, Plan, Replace};

/// How many files are replaced in turn.
pub(super) const TARGETS: usize = 16;

/// The calls of a replace, as series.
pub(super) const STEPS: [&str; 6] =
    ["step/openat", "step/write", "step/fsync", "step/close", "step/renameat", "step/fsync-dir"];

/// Six plain calls, and the clock between them.
pub(super) struct Steps {
    dir: Dir,
    names: Vec<CString>,
    bytes: Bytes,
    done: usize,
}

impl Steps {
    pub(super) fn new(dir: &Path, bytes: Bytes) -> Result<Steps, String> {
        Ok(Steps { dir: open(dir)?, names: names(), bytes, done: 0 })
    }

    /// The moments before, between and after the calls.
    fn replace(&self, name: &CStr, begin: Instant) -> nix::Result<[Instant; 7]> {
        const TEMP: &CStr = c"temporary";
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = File::from(openat(self.dir.fd(), TEMP, flags, Mode::from_bits_truncate(0o600))?);
        let opened = Instant::now();
        file.write_all_at(&self.bytes, 0).map_err(|error| nix::Error::from_raw(error.raw_os_error().unwrap_or(0)))?;
        let written = Instant::now();
        sys::sync_file(&file)?;
        let synced = Instant::now();
        close(file)?;
        let closed = Instant::now();
        renameat(self.dir.fd(), TEMP, self.dir.fd(), name)?;
        let renamed = Instant::now();
        sys::sync_dir(self.dir.fd())?;
        Ok([begin, opened, written, synced, closed, renamed, Instant::now()])
    }
}

impl Subject for Steps {
    fn series(&self) -> Vec<(String, bool)> {
        let whole = ("replace/plain-calls".to_owned(), true);
        STEPS.iter().map(|step| ((*step).to_owned(), false)).chain([whole]).collect()
    }

    fn turn(&mut self, mut pace: Pace, latencies: &mut Latencies) -> Result<(), String> {
        while let Some(start) = pace.next() {
            let name = &self.names[self.done % TARGETS];
            // A late start counts for the whole, and for none of its calls.
            let moments = self.replace(name, Instant::now()).map_err(|errno| errno.desc().to_owned())?;
            for (step, pair) in moments.windows(2).enumerate() {
                latencies.of[step].push(nanos(pair[0], pair[1]));
            }
            latencies.of[STEPS.len()].push(nanos(start, moments[STEPS.len()]));
            latencies.operations += 1;
            self.done += 1;
        }
        Ok(())
    }
}

/// How an engine is to do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As it does by itself: through a ring, one chain where that holds.
    Itself,
    /// Two chains: up to the close, checked, and the rest.
    TwoStages,
    /// Each call submitted and awaited by itself.
    Awaited,
}

/// A single write through an engine that is kept.
pub(super) struct Whole {
    name: String,
    writer: Writer,
    dir: Arc<Dir>,
    names: Vec<CString>,
    content: Content,
    way: Way,
    done: usize,
}

impl Whole {
    pub(super) fn new(name: &str, dir: &Path, engine: Selected, way: Way, bytes: Bytes) -> Result<Whole, String> {
        let dir = open(dir)?;
        let content = Content { bytes: bytes.into(), options: PutOptions::new(), stamp: None, medium: Medium::FSYNC };
        let writer = Writer::new(engine, Maker::Single);
        let dir = Arc::new(dir);
        if way == Way::Itself && name.ends_with("-chain") {
            // It finds out whether the filesystem refuses it.
            writer.put(&dir, c"first", &content).map_err(|error| error.to_string())?;
            if !dir.sync_writes() {
                return Err("a chain needs RWF_SYNC, which is proven on ext4, xfs, btrfs and tmpfs only".to_owned());
            }
        }
        Ok(Whole { name: name.to_owned(), writer, dir, names: names(), content, way, done: 0 })
    }
}

impl Subject for Whole {
    fn series(&self) -> Vec<(String, bool)> {
        vec![(self.name.clone(), true)]
    }

    fn turn(&mut self, mut pace: Pace, latencies: &mut Latencies) -> Result<(), String> {
        let plan = match self.way {
            Way::Itself => Plan::replace,
            Way::TwoStages => |replace| Plan::replace(Replace { fuse: false, ..replace }),
            Way::Awaited => |replace| {
                let plan = Plan::replace(Replace { fuse: false, ..replace });
                Plan::one_by_one(plan.stages.into_iter().flatten())
            },
        };
        while let Some(start) = pace.next() {
            let name = &self.names[self.done % TARGETS];
            self.writer.put_by(&self.dir, name, &self.content, plan).map_err(|error| error.to_string())?;
            latencies.note(start);
            self.done += 1;
        }
        Ok(())
    }
}

pub(super) fn open(dir: &Path) -> Result<Dir, String> {
    Dir::open(dir).map_err(|error| error.to_string())
}

pub(super) fn names() -> Vec<CString> {
    (0..TARGETS).map(|i| CString::new(format!("target-{i}")).expect("no NUL")).collect()
}
