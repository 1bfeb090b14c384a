//! Selects the series of a run.

use std::path::Path;

use bytes::Bytes;

use super::crowd::{Batches, KEYS, Writers};
use super::method::{MethodRun, SyncMethod, blocks};
use super::replace::{EngineReplace, Steps, Submission, TARGETS};
use super::results::LOGGED;
use super::run::Mode;
use super::tokio_uring;
use super::turn::Subject;
use crate::commit::barrier::Barrier;
use crate::engine::{Engine, select};
use crate::store::LOG_BYTES;

/// Something to measure, if this machine supports it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Candidate {
    Steps,
    Replace(Engine, Submission),
    /// A replace on a tokio-uring runtime.
    TokioUring,
    /// A replace of a file of this size.
    Size(usize),
    /// So many writers, by the default barrier.
    Writers(Engine, usize),
    /// So many writers of a store with an intent log.
    Logged(usize),
    Batch(usize, Barrier),
    Method(SyncMethod),
}

pub(super) fn candidates(mode: Mode) -> Vec<Candidate> {
    use Candidate::{Batch, Logged, Replace, Size, Steps, TokioUring, Writers};
    let mut all = vec![
        Steps,
        Replace(Engine::Portable, Submission::EngineDefault),
        Replace(Engine::Uring, Submission::EngineDefault),
        Replace(Engine::Uring, Submission::TwoStages),
        Replace(Engine::Uring, Submission::Awaited),
    ];
    if mode == Mode::Full {
        all.push(TokioUring);
    }
    let writers: &[usize] = match mode {
        Mode::Quick => &[1, 64],
        Mode::Default => &[1, 8, 64],
        Mode::Full => &[1, 2, 4, 8, 16, 32, 64],
    };
    all.extend(writers.iter().map(|writers| Writers(Engine::Portable, *writers)));
    let writers: &[usize] = match mode {
        Mode::Quick => &[],
        Mode::Default => &[64],
        Mode::Full => writers,
    };
    all.extend(writers.iter().map(|writers| Writers(Engine::Uring, *writers)));
    let writers: &[usize] = match mode {
        Mode::Quick => &[],
        Mode::Default => &[1, 64],
        Mode::Full => writers,
    };
    all.extend(writers.iter().map(|writers| Logged(*writers)));
    if mode != Mode::Quick {
        all.push(Batch(64, Barrier::Auto));
    }
    all.extend(SyncMethod::ALWAYS.map(Candidate::Method));
    if mode == Mode::Full {
        for barrier in [Barrier::PerFile, Barrier::Filesystem, Barrier::Journal, Barrier::IntentLog] {
            all.extend([1, 4, 16, 64, 256, 1024].map(|files| Batch(files, barrier)));
        }
        all.extend([512, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20].map(Size));
        all.extend(SyncMethod::OTHERS.map(Candidate::Method));
    }
    all
}

impl Candidate {
    pub(super) fn name(self) -> String {
        match self {
            Candidate::Steps => "replace/plain-calls".to_owned(),
            Candidate::Replace(Engine::Uring, Submission::EngineDefault) => "replace/uring-chain".to_owned(),
            Candidate::Replace(Engine::Uring, Submission::TwoStages) => "replace/uring-two-stage".to_owned(),
            Candidate::Replace(Engine::Uring, Submission::Awaited) => "replace/uring-awaited".to_owned(),
            Candidate::Replace(engine, _) => format!("replace/{}", engine_name(engine)),
            Candidate::TokioUring => "replace/tokio-uring".to_owned(),
            Candidate::Size(bytes) => format!("size/{bytes}"),
            Candidate::Writers(engine, writers) => format!("store/{writers}x{}", engine_name(engine)),
            Candidate::Logged(writers) => format!("store/{writers}x{LOGGED}"),
            Candidate::Batch(files, barrier) => format!("batch/{files}/{barrier}"),
            Candidate::Method(method) => method.name().to_owned(),
        }
    }

    /// Sets up the benchmark in `dir`. The error says why this machine does not support it.
    pub(super) fn make(self, dir: &Path, content: &Bytes) -> Result<Box<dyn Subject>, String> {
        let name = self.name();
        let same = || content.clone();
        let engine = |engine| select(engine).map_err(|error| error.to_string());
        Ok(match self {
            Candidate::Steps => Box::new(Steps::new(dir, same())?),
            Candidate::Replace(kind, submission) => {
                Box::new(EngineReplace::new(&name, dir, engine(kind)?, submission, same())?)
            }
            Candidate::TokioUring => tokio_uring::make(&name, dir, same())?,
            Candidate::Size(size) => Box::new(EngineReplace::new(
                &name,
                dir,
                engine(Engine::Auto)?,
                Submission::EngineDefault,
                Bytes::from(vec![0x5a; size]),
            )?),
            Candidate::Writers(kind, writers) => {
                Box::new(Writers::new(&name, dir, (kind, Barrier::Auto), writers, same())?)
            }
            Candidate::Logged(writers) => {
                Box::new(Writers::new(&name, dir, (Engine::Auto, Barrier::IntentLog), writers, same())?)
            }
            Candidate::Batch(files, barrier) => Box::new(Batches::new(&name, dir, barrier, files, same())?),
            Candidate::Method(method) => Box::new(MethodRun::new(method, dir, content.len())?),
        })
    }

    /// The most bytes it may have on the disk at one time.
    pub(super) fn space_needed(self, size: usize) -> u64 {
        let block = |size: usize| size.next_multiple_of(4096) as u64;
        // The log, and as much of replaced files, whose room the filesystem gives back at the next checkpoint.
        let logged = |files: u64| files + 2 * LOG_BYTES / block(size).max(1);
        let files = match self {
            Candidate::Steps | Candidate::Replace(..) | Candidate::TokioUring => TARGETS as u64 + 1,
            Candidate::Size(size) => return (TARGETS as u64 + 1) * block(size),
            Candidate::Writers(_, writers) => (writers * (KEYS + 1)) as u64,
            Candidate::Logged(writers) => logged((writers * (KEYS + 1)) as u64),
            Candidate::Batch(files, Barrier::IntentLog) => logged(2 * files as u64),
            Candidate::Batch(files, _) => 2 * files as u64,
            Candidate::Method(_) => blocks(size) + 1,
        };
        files * block(size)
    }
}

fn engine_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Uring => "uring",
        _ => "portable",
    }
}

/// The names of the series of a run in this mode.
#[cfg(test)]
pub(super) fn names(mode: Mode) -> Vec<String> {
    candidates(mode).into_iter().map(Candidate::name).collect()
}
