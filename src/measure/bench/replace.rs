//! Benchmarks of one durable replace: call by call, and in total with each engine.

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
use crate::file::{Content, Writer};
use crate::fs::{Dir, Maker, sys};
use crate::protocol::{Medium, Plan, PutOptions, Replace};

/// The number of files that are replaced in rotation.
pub(super) const TARGETS: usize = 16;

/// The series of the individual calls.
pub(super) const STEPS: [&str; 6] =
    ["step/openat", "step/write", "step/fsync", "step/close", "step/renameat", "step/fsync-dir"];

/// A replace by six plain calls, each timed.
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

    /// Replaces a file. Returns the times before, between and after the calls.
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
            // With a rate, a late start counts towards the total, but not towards any call.
            let moments = self.replace(name, Instant::now()).map_err(|errno| errno.desc().to_owned())?;
            for (step, pair) in moments.windows(2).enumerate() {
                latencies.by_series[step].push(nanos(pair[0], pair[1]));
            }
            latencies.by_series[STEPS.len()].push(nanos(start, moments[STEPS.len()]));
            latencies.operations += 1;
            self.done += 1;
        }
        Ok(())
    }
}

/// How an engine submits the calls of a replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Submission {
    /// As the engine does by default. With io_uring: one chain, where chains are safe.
    EngineDefault,
    /// As two chains: up to the close, then, after a check, the rest.
    TwoStages,
    /// Each call is submitted and awaited separately.
    Awaited,
}

/// A replace through an engine that is kept between operations.
pub(super) struct EngineReplace {
    name: String,
    writer: Writer,
    dir: Arc<Dir>,
    names: Vec<CString>,
    content: Content,
    submission: Submission,
    done: usize,
}

impl EngineReplace {
    pub(super) fn new(
        name: &str,
        dir: &Path,
        engine: Selected,
        submission: Submission,
        bytes: Bytes,
    ) -> Result<EngineReplace, String> {
        let dir = open(dir)?;
        let content = Content { bytes: bytes.into(), options: PutOptions::new(), stamp: None, medium: Medium::FSYNC };
        let writer = Writer::new(engine, Maker::Single);
        let dir = Arc::new(dir);
        if submission == Submission::EngineDefault && name.ends_with("-chain") {
            // The first put finds out whether the filesystem supports RWF_SYNC.
            writer.put(&dir, c"first", &content).map_err(|error| error.to_string())?;
            if !dir.sync_writes() {
                return Err("a chain needs RWF_SYNC, which is proven on ext4, xfs, btrfs and tmpfs only".to_owned());
            }
        }
        Ok(EngineReplace { name: name.to_owned(), writer, dir, names: names(), content, submission, done: 0 })
    }
}

impl Subject for EngineReplace {
    fn series(&self) -> Vec<(String, bool)> {
        vec![(self.name.clone(), true)]
    }

    fn turn(&mut self, mut pace: Pace, latencies: &mut Latencies) -> Result<(), String> {
        let plan = match self.submission {
            Submission::EngineDefault => Plan::replace,
            Submission::TwoStages => |replace| Plan::replace(Replace { one_chain: false, ..replace }),
            Submission::Awaited => |replace| {
                let plan = Plan::replace(Replace { one_chain: false, ..replace });
                Plan::one_by_one(plan.stages.into_iter().flatten())
            },
        };
        while let Some(start) = pace.next() {
            let name = &self.names[self.done % TARGETS];
            self.writer.put_by(&self.dir, name, &self.content, plan).map_err(|error| error.to_string())?;
            latencies.record(start);
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
