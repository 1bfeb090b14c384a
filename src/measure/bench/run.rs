//! A run: what is to be measured, in rounds, in a directory of its own.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::counters::{Counts, Disk};
use super::record::Record;
use super::results::{Method, NotMeasured, Results, SCHEMA};
use super::select::{self, Candidate};
use super::turn::{Latencies, MOST, Pace, Subject};
use super::{BenchError, summary};
use crate::measure::environment::Environment;

/// How much is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// About 3 s: enough to see what kind of disk it is.
    Quick,
    /// About 20 s.
    #[default]
    Default,
    /// Some minutes: also sizes, writers, batches and methods.
    Full,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Quick => "quick",
            Mode::Default => "default",
            Mode::Full => "full",
        }
    }

    /// Rounds, and the length of a turn.
    fn rounds(self) -> (u32, Duration) {
        match self {
            Mode::Quick => (5, Duration::from_millis(30)),
            Mode::Default => (10, Duration::from_millis(120)),
            Mode::Full => (15, Duration::from_millis(150)),
        }
    }
}

/// How long it is looked, before each round, whether others use the disk.
const PAUSE: Duration = Duration::from_millis(20);

/// What is to be measured, and where.
///
/// ```no_run
/// use std::ops::ControlFlow;
///
/// use ringbolt::bench::{Bench, Mode};
///
/// let results = Bench::new("/data").mode(Mode::Quick).run(|_| ControlFlow::Continue(()))?;
/// println!("{}", results.summary.unwrap_or_default());
/// # Ok::<(), ringbolt::bench::BenchError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is measured before `run`"]
pub struct Bench {
    dir: PathBuf,
    mode: Mode,
    size: usize,
    rate: Option<f64>,
}

/// How far a run has come. It is told between turns, never within one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// Something is set up and tried once, untimed.
    Prepare,
    /// What is ahead. Only a few files were written so far, to see how fast this disk is.
    Begin {
        /// The directory that was made for it, and will be removed.
        directory: &'a Path,
        /// How long it will take, about.
        takes: Duration,
        /// How many bytes of files it will write, at most, about.
        bytes: u64,
    },
    /// A turn is over.
    Turn {
        /// How many are over.
        done: u64,
        /// Of how many.
        all: u64,
    },
}

impl Bench {
    /// In this directory: a new one is made in it, and removed in the end.
    pub fn new(dir: impl AsRef<Path>) -> Bench {
        Bench { dir: dir.as_ref().to_owned(), mode: Mode::Default, size: 4096, rate: None }
    }

    /// How much is measured.
    pub fn mode(mut self, mode: Mode) -> Bench {
        self.mode = mode;
        self
    }

    /// The length of the files in bytes: 4,096 by default.
    pub fn size(mut self, bytes: usize) -> Bench {
        self.size = bytes;
        self
    }

    /// So many operations a second of each writer, measured from their intended start. Without, each begins when the one before it
    /// has ended.
    pub fn rate(mut self, per_second: f64) -> Bench {
        self.rate = Some(per_second);
        self
    }

    /// Measures. `progress` is called between turns, and may end it: the results are then marked as partial.
    ///
    /// # Errors
    ///
    /// The directory is none, cannot be written, or has too little room; or an operation failed. What was made is removed in any case.
    pub fn run(&self, mut progress: impl FnMut(Progress<'_>) -> ControlFlow<()>) -> Result<Results, BenchError> {
        let begin = Instant::now();
        let began = format!("{:.0}", jiff::Timestamp::now());
        let environment = Environment::of(&self.dir);
        let disk = disk(&environment);
        let candidates = select::candidates(self.mode);
        self.check_room(&environment, &candidates)?;
        let content = Bytes::from(vec![0x5a; self.size]);
        let mut warnings = Scratch::others(&self.dir);
        let scratch = Scratch::new(&self.dir)?;
        let (rounds, turn) = self.mode.rounds();
        let mut run = Run { disk: &disk, turn, rate: self.rate };
        let mut partial = false;
        let mut tell = |what: Progress<'_>| {
            partial |= progress(what).is_break();
            partial
        };
        let planned = turn.mul_f64(candidates.len() as f64 * (f64::from(rounds) + 0.5));
        let (mut subjects, mut not_measured) = (Vec::<Measured>::new(), Vec::new());
        let mut failed = false;
        let mut over = false;
        for (at, candidate) in candidates.into_iter().enumerate() {
            over = over || tell(Progress::Prepare);
            if over {
                break;
            }
            let dir = scratch.0.join(candidate.name().replace('/', "-"));
            if let Err(error) = fs::create_dir(&dir) {
                not_measured.push(NotMeasured { name: candidate.name(), reason: error.to_string() });
                failed = true;
                continue;
            }
            let mut measured = match candidate.make(&dir, &content) {
                Ok(subject) => Measured::new(subject),
                Err(reason) => {
                    not_measured.push(NotMeasured { name: candidate.name(), reason });
                    continue;
                }
            };
            // The first turn makes what is made once, and is not counted; but it tells how fast this disk is.
            match run.warm_up(&mut measured) {
                Ok(per_s) if at == 0 => {
                    // Many at once are faster than one alone.
                    let bytes = (per_s * planned.as_secs_f64() * self.size as f64 * 3.0) as u64;
                    over = tell(Progress::Begin { directory: &scratch.0, takes: planned, bytes });
                }
                Ok(_) => {}
                // Where not even plain calls go, nothing goes.
                Err(why) if at == 0 => return Err(BenchError::failed(&*measured.subject, why)),
                Err(reason) => {
                    not_measured.push(NotMeasured { name: candidate.name(), reason });
                    failed = true;
                    continue;
                }
            }
            subjects.push(measured);
        }
        let all = u64::from(rounds) * subjects.len() as u64;
        let mut pauses = (0, 0);
        'rounds: for round in 0..rounds as usize {
            // In a pause of ours, whatever the disk does it does for others.
            pauses = (pauses.0 + u32::from(disk.is_used_by_others(PAUSE)), pauses.1 + 1);
            // The order rotates, so that nothing always follows the same.
            for at in 0..subjects.len() {
                if over {
                    break 'rounds;
                }
                let turn = (at + round) % subjects.len();
                if subjects[turn].failed.is_none() {
                    run.turn(&mut subjects[turn]);
                }
                over = tell(Progress::Turn { done: (round * subjects.len() + at) as u64 + 1, all });
            }
        }
        // Once may be the kernel, which writes back what is left of our own.
        if pauses.0 > 1 {
            let (busy, all) = pauses;
            warnings
                .push(format!("others used this disk meanwhile, in {busy} of {all} pauses: the figures include that"));
        }
        for measured in &subjects {
            if let Some(why) = &measured.failed {
                warnings.push(format!("{} failed in the middle: {why}", measured.records[0].name()));
                failed = true;
            }
        }
        let results: Vec<_> =
            subjects.iter().flat_map(|measured| measured.records.iter().filter_map(Record::finish)).collect();
        drop(subjects);
        if let Err(error) = scratch.remove() {
            warnings.push(error.to_string());
        }
        let mut results = Results {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            began,
            took_s: begin.elapsed().as_secs_f64(),
            partial: partial || failed,
            method: Method {
                mode: self.mode.name().to_owned(),
                rounds,
                turn_ms: turn.as_millis() as u64,
                size_bytes: self.size,
                rate_per_s: self.rate,
            },
            environment,
            summary: None,
            warnings,
            results,
            not_measured,
        };
        results.summary = summary::sentence(&results);
        results.warnings.extend(summary::doubts(&results));
        Ok(results)
    }

    fn check_room(&self, environment: &Environment, candidates: &[Candidate]) -> Result<(), BenchError> {
        let needed: u64 = candidates.iter().map(|candidate| candidate.room(self.size)).sum();
        match environment.filesystem.free_bytes {
            Some(free) if free < needed => Err(BenchError::TooLittleRoom { path: self.dir.clone(), free, needed }),
            _ => Ok(()),
        }
    }
}

/// The disk whose flushes are counted: the first that is not a part of another.
fn disk(environment: &Environment) -> Disk {
    environment
        .device
        .iter()
        .find(|device| device.kind != "partition")
        .map_or_else(Disk::default, |device| Disk::named(&device.name))
}

/// A subject and what was measured of it.
struct Measured {
    subject: Box<dyn Subject>,
    records: Vec<Record>,
    latencies: Latencies,
    /// Why it takes no more turns.
    failed: Option<String>,
}

impl Measured {
    fn new(subject: Box<dyn Subject>) -> Measured {
        let records: Vec<_> = subject.series().iter().map(|(name, counted)| Record::new(name, *counted)).collect();
        let latencies = Latencies::new(records.len(), MOST);
        Measured { subject, records, latencies, failed: None }
    }
}

struct Run<'a> {
    disk: &'a Disk,
    turn: Duration,
    rate: Option<f64>,
}

impl Run<'_> {
    /// How many operations a second there were.
    fn warm_up(&mut self, measured: &mut Measured) -> Result<f64, String> {
        let Measured { subject, latencies, .. } = measured;
        latencies.clear();
        let begin = Instant::now();
        subject.turn(Pace::new(self.turn / 2, None), latencies)?;
        Ok(latencies.operations as f64 / begin.elapsed().as_secs_f64())
    }

    fn turn(&mut self, measured: &mut Measured) {
        let Measured { subject, latencies, records, failed } = measured;
        latencies.clear();
        let (before, begin) = (Counts::now(self.disk), Instant::now());
        *failed = subject.turn(Pace::new(self.turn, self.rate), latencies).err();
        let mut took = begin.elapsed().saturating_sub(latencies.aside);
        if let Some(rate) = self.rate {
            // The time of so many starts, though the last operation may be over before the next would begin.
            took = took.max(Duration::from_secs_f64((self.turn.as_secs_f64() * rate).ceil().max(1.0) / rate));
        }
        let spent = before.until(&Counts::now(self.disk));
        for (record, nanos) in records.iter_mut().zip(&latencies.of) {
            record.turn(nanos, latencies.operations, took, spent);
        }
    }
}

/// A directory of our own; removed when dropped.
struct Scratch(PathBuf);

/// What the names of such directories begin with.
const SCRATCH: &str = "ringbolt-bench-";

impl Scratch {
    /// Those of other runs, which may be under way or were killed: nobody but their owner may say which.
    fn others(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|name| name.starts_with(SCRATCH))
            .map(|name| {
                format!("{:?} is there: of another run, or of one that was killed; then remove it", dir.join(name))
            })
            .collect()
    }

    fn new(dir: &Path) -> Result<Scratch, BenchError> {
        let fail = |source| BenchError::Directory { path: dir.to_owned(), source };
        let found = fs::metadata(dir).map_err(fail)?;
        if !found.is_dir() {
            return Err(BenchError::NotADirectory { path: dir.to_owned() });
        }
        for attempt in 0..1000 {
            let path = dir.join(format!("{SCRATCH}{}-{attempt}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Scratch(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Err(fail(std::io::ErrorKind::AlreadyExists.into()))
    }

    fn remove(self) -> Result<(), BenchError> {
        fs::remove_dir_all(&self.0).map_err(|source| BenchError::Directory { path: self.0.clone(), source })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
