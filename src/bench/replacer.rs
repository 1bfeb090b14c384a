//! Single replaces, in total or call by call, for benchmarks with their own clock and harness.

use std::ffi::CStr;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::BenchError;
use crate::dir::Dir;
use crate::engine::{Engine, EngineInfo, Job, select};
use crate::error::Result;
use crate::payload::Payload;
use crate::protocol::{self, Existing, Fate, Medium, Phase, Plan, Verdict};
use crate::put_options::PutOptions;
use crate::temp::Maker;
use crate::writer::{Content, Writer};

const TARGET: &CStr = c"target";
const TEMP: &CStr = c"temporary";
const CREATE: protocol::Call = protocol::Call::CreateTemp { mode: 0o600 };

/// A call of a durable replace to time, or two calls that cannot be separated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimedCall {
    /// `openat` of a new file, and its `close`. A file opened through a ring exists only in the ring's file table, so
    /// only the ring can close it.
    OpenClose,
    /// `write` of the whole content.
    Write,
    /// `fsync` of the file.
    Fsync,
    /// `close` of the file.
    Close,
    /// `renameat` over an existing file.
    Rename,
    /// `fsync` of the directory.
    FsyncDir,
}

impl fmt::Display for TimedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TimedCall::OpenClose => "openat-close",
            TimedCall::Write => "write",
            TimedCall::Fsync => "fsync",
            TimedCall::Close => "close",
            TimedCall::Rename => "renameat",
            TimedCall::FsyncDir => "fsync-dir",
        })
    }
}

/// Replaces one file repeatedly, through an engine that is kept between replaces.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use ringbolt::Engine;
/// use ringbolt::bench::{TimedCall, Replacer};
///
/// let replacer = Replacer::new(dir.path(), Engine::Auto, vec![7; 4096])?;
/// println!("{:?}, of which the fsync may take {:?}", replacer.replace()?, replacer.call(TimedCall::Fsync)?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Replacer {
    writer: Writer,
    dir: Arc<Dir>,
    content: Content,
}

impl Replacer {
    /// Prepares to replace the file `target` in `dir`. The temporary file is named `temporary`.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened, or the engine cannot be started.
    pub fn new(dir: impl AsRef<Path>, engine: Engine, bytes: impl Into<Payload>) -> Result<Replacer> {
        let dir = Arc::new(Dir::open(dir.as_ref())?);
        let content = Content { bytes: bytes.into(), options: PutOptions::new(), stamp: None, medium: Medium::FSYNC };
        Ok(Replacer { writer: Writer::new(select(engine)?, Maker::Single), dir, content })
    }

    /// The engine in use, and why it was chosen.
    pub fn engine(&self) -> &EngineInfo {
        self.writer.engine.info()
    }

    /// Does one durable replace as the engine does by default. Returns how long it took.
    ///
    /// # Errors
    ///
    /// As [`WriteOptions::write`](crate::WriteOptions::write).
    pub fn replace(&self) -> Result<Duration> {
        let begin = Instant::now();
        self.writer.put(&self.dir, TARGET, &self.content)?;
        Ok(begin.elapsed())
    }

    /// Does one durable replace with only this call submitted to the engine; the other calls are plain ones. Returns
    /// how long the call took, including the way to the engine and back. For [`TimedCall::OpenClose`] nothing is
    /// replaced.
    ///
    /// # Errors
    ///
    /// A call failed.
    pub fn call(&self, call: TimedCall) -> std::result::Result<Duration, BenchError> {
        let result = if call == TimedCall::OpenClose { self.open_close() } else { self.replace_around(call) };
        result.map_err(|why| {
            // The temporary file may not exist. The error to report is the first one.
            let _ = self.plainly(&protocol::Call::RemoveTemp, None);
            BenchError::Failed { series: call.to_string(), why }
        })
    }

    fn open_close(&self) -> std::result::Result<Duration, String> {
        let (_, took) = self.through_engine([CREATE, protocol::Call::CloseFile], None)?;
        self.plainly(&protocol::Call::RemoveTemp, None)?;
        Ok(took)
    }

    fn replace_around(&self, timed: TimedCall) -> std::result::Result<Duration, String> {
        let mut file = self.plainly(&CREATE, None)?;
        let mut took = Duration::ZERO;
        for (step, call) in [
            (TimedCall::Write, protocol::Call::Write { range: 0..self.content.bytes.len(), sync: false }),
            (TimedCall::Fsync, protocol::Call::SyncFile),
            (TimedCall::Close, protocol::Call::CloseFile),
            (TimedCall::Rename, protocol::Call::Publish { existing: Existing::Replace }),
            (TimedCall::FsyncDir, protocol::Call::SyncDir),
        ] {
            if step == timed {
                (file, took) = self.through_engine([call], file)?;
            } else {
                file = self.plainly(&call, file)?;
            }
        }
        Ok(took)
    }

    /// Submits each call separately, after the previous one succeeded.
    fn through_engine<const N: usize>(
        &self,
        calls: [protocol::Call; N],
        file: Option<OwnedFd>,
    ) -> std::result::Result<(Option<OwnedFd>, Duration), String> {
        let job = self.job(Plan::one_by_one(calls), file);
        let begin = Instant::now();
        let job = self.writer.run(job, Phase::Settle);
        let took = begin.elapsed();
        match job.run.report().verdict() {
            Verdict::Durable => Ok((job.file, took)),
            Verdict::Unchanged { errno, .. } | Verdict::Unknown { errno, .. } => Err(errno.desc().to_owned()),
        }
    }

    fn plainly(&self, call: &protocol::Call, file: Option<OwnedFd>) -> std::result::Result<Option<OwnedFd>, String> {
        let mut job = self.job(Plan::empty(), file);
        match self.writer.engine.interpreter.call(call, &mut job) {
            Fate::Done(_) => Ok(job.file),
            Fate::Failed(errno) => Err(errno.desc().to_owned()),
            Fate::Skipped | Fate::Lost => unreachable!("a plain call always runs"),
        }
    }

    fn job(&self, plan: Plan, file: Option<OwnedFd>) -> Job {
        let (name, temp, bytes) = (TARGET.into(), TEMP.into(), self.content.bytes.clone());
        Job { name, temp, bytes, file, ..self.writer.job(plan, &self.dir) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: [TimedCall; 6] = [
        TimedCall::OpenClose,
        TimedCall::Write,
        TimedCall::Fsync,
        TimedCall::Close,
        TimedCall::Rename,
        TimedCall::FsyncDir,
    ];

    #[test]
    fn each_call_leaves_the_target_alone() {
        for engine in [Engine::Portable, Engine::Uring] {
            let dir = tempfile::tempdir().unwrap();
            let replacer = match Replacer::new(dir.path(), engine, vec![7; 5000]) {
                Ok(replacer) => replacer,
                Err(error) if error.is_engine_unavailable() => continue,
                Err(error) => panic!("{error}"),
            };
            replacer.replace().unwrap();
            for call in CALLS {
                assert!(replacer.call(call).unwrap() > Duration::ZERO, "{call}");
                let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                assert_eq!(names, ["target"], "{call}");
                assert_eq!(std::fs::read(dir.path().join("target")).unwrap(), vec![7; 5000], "{call}");
            }
        }
    }

    #[test]
    fn a_failing_call_is_named_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let replacer = Replacer::new(dir.path(), Engine::Auto, vec![7]).unwrap();
        std::fs::create_dir_all(dir.path().join("target/held")).unwrap();
        std::fs::write(dir.path().join("target/held/file"), "").unwrap();
        let error = replacer.call(TimedCall::Rename).unwrap_err().to_string();
        assert!(error.starts_with("renameat: "), "{error}");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }
}
