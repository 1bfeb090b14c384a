//! Single replaces, whole or call by call, for a benchmark that has a clock and a harness of its own.

use std::ffi::CStr;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::BenchError;
use crate::engine::payload::Payload;
use crate::engine::{Engine, EngineInfo, Job, select};
use crate::error::Result;
use crate::file::writer::{Content, Writer};
use crate::fs::dir::Dir;
use crate::fs::temp::Maker;
use crate::protocol::options::PutOptions;
use crate::protocol::{self, Existing, Fate, Medium, Phase, Plan, Verdict};

const TARGET: &CStr = c"target";
const TEMP: &CStr = c"temporary";
const CREATE: protocol::Call = protocol::Call::CreateTemp { mode: 0o600 };

/// One call of a durable replace, or two that do not come apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// `openat` of a new file, and its `close`: what a ring opens has a place in the ring alone, which only the ring can free.
    OpenClose,
    /// The write of the whole content.
    Write,
    /// `fsync` of the file.
    Fsync,
    /// `close` of the file.
    Close,
    /// `renameat` over a file that is there.
    Rename,
    /// `fsync` of the directory.
    FsyncDir,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Call::OpenClose => "openat-close",
            Call::Write => "write",
            Call::Fsync => "fsync",
            Call::Close => "close",
            Call::Rename => "renameat",
            Call::FsyncDir => "fsync-dir",
        })
    }
}

/// Replaces one file of a directory, again and again, through an engine that is kept.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use ringbolt::Engine;
/// use ringbolt::bench::{Call, Replacer};
///
/// let replacer = Replacer::new(dir.path(), Engine::Auto, vec![7; 4096])?;
/// println!("{:?}, of which the fsync may take {:?}", replacer.replace()?, replacer.call(Call::Fsync)?);
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
    /// Replaces `target` in the directory, beside a file `temporary`.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened, or the engine not be started.
    pub fn new(dir: impl AsRef<Path>, engine: Engine, bytes: impl Into<Payload>) -> Result<Replacer> {
        let dir = Arc::new(Dir::open(dir.as_ref())?);
        let content = Content { bytes: bytes.into(), options: PutOptions::new(), stamp: None, medium: Medium::FSYNC };
        Ok(Replacer { writer: Writer::new(select(engine)?, Maker::Single), dir, content })
    }

    /// Which engine runs, and why.
    pub fn engine(&self) -> &EngineInfo {
        self.writer.engine.info()
    }

    /// One durable replace, as the engine does it by itself; how long it took.
    ///
    /// # Errors
    ///
    /// As [`WriteOptions::write`](crate::WriteOptions::write).
    pub fn replace(&self) -> Result<Duration> {
        let begin = Instant::now();
        self.writer.put(&self.dir, TARGET, &self.content)?;
        Ok(begin.elapsed())
    }

    /// This call of a durable replace goes through the engine by itself, and is awaited; the calls around it are plain ones. How
    /// long it took, with its way to the engine and back. [`Call::OpenClose`] is not followed by a replace.
    ///
    /// # Errors
    ///
    /// A call has failed.
    pub fn call(&self, call: Call) -> std::result::Result<Duration, BenchError> {
        let result = if call == Call::OpenClose { self.open_close() } else { self.replace_around(call) };
        result.map_err(|why| {
            // It may be there or not; what is told is the failure.
            let _ = self.plainly(&protocol::Call::RemoveTemp, None);
            BenchError::Failed { series: call.to_string(), why }
        })
    }

    fn open_close(&self) -> std::result::Result<Duration, String> {
        let (_, took) = self.through_engine([CREATE, protocol::Call::CloseFile], None)?;
        self.plainly(&protocol::Call::RemoveTemp, None)?;
        Ok(took)
    }

    fn replace_around(&self, timed: Call) -> std::result::Result<Duration, String> {
        let mut file = self.plainly(&CREATE, None)?;
        let mut took = Duration::ZERO;
        for (step, call) in [
            (Call::Write, protocol::Call::Write { range: 0..self.content.bytes.len(), sync: false }),
            (Call::Fsync, protocol::Call::SyncFile),
            (Call::Close, protocol::Call::CloseFile),
            (Call::Rename, protocol::Call::Publish { existing: Existing::Replace }),
            (Call::FsyncDir, protocol::Call::SyncDir),
        ] {
            if step == timed {
                (file, took) = self.through_engine([call], file)?;
            } else {
                file = self.plainly(&call, file)?;
            }
        }
        Ok(took)
    }

    /// Each call is submitted by itself, and the next one when it has succeeded.
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
            Fate::Skipped | Fate::Lost => unreachable!("a plain call is run"),
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

    const CALLS: [Call; 6] = [Call::OpenClose, Call::Write, Call::Fsync, Call::Close, Call::Rename, Call::FsyncDir];

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
        let error = replacer.call(Call::Rename).unwrap_err().to_string();
        assert!(error.starts_with("renameat: "), "{error}");
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    }
}
