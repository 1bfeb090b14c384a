//! A benchmark run: measures all series in rounds, in a new directory.

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
use super::turn::{Latencies, OPERATIONS_MAX, Pace, Subject};
use super::{BenchError, summary};
use crate::measure::environment::Environment;

/// How much to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// About 3 s: enough to see what kind of disk it is.
    Quick,
    /// About 20 s.
    #[default]
    Default,
    /// Some minutes: also file sizes, numbers of writers, batches and other methods.
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

    /// The number of rounds and the length of a turn.
    fn rounds(self) -> (u32, Duration) {
        match self {
            Mode::Quick => (5, Duration::from_millis(30)),
            Mode::Default => (10, Duration::from_millis(120)),
            Mode::Full => (15, Duration::from_millis(150)),
        }
    }
}

/// How long to check before each round whether other processes use the disk.
const PAUSE: Duration = Duration::from_millis(20);

/// A benchmark: what to measure, and where.
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
#[must_use = "a benchmark measures nothing until `run` is called"]
pub struct Bench {
    dir: PathBuf,
    mode: Mode,
    size: usize,
    rate: Option<f64>,
}

/// The progress of a run. Reported between turns, never within one.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A series is being set up and tried once, untimed.
    Prepare,
    /// The measurement is about to begin. So far, only a few files were written, to see how fast the disk is.
    Begin {
        /// The directory created for the run; it will be removed.
        directory: &'a Path,
        /// The approximate duration.
        takes: Duration,
        /// The approximate maximum of bytes to be written.
        bytes: u64,
    },
    /// A turn ended.
    Turn {
        /// Turns completed.
        done: u64,
        /// Turns in total.
        all: u64,
    },
}

impl Bench {
    /// Measures in a new directory inside `dir`, which is removed at the end.
    pub fn new(dir: impl AsRef<Path>) -> Bench {
        Bench { dir: dir.as_ref().to_owned(), mode: Mode::Default, size: 4096, rate: None }
    }

    /// Sets how much to measure.
    pub fn mode(mut self, mode: Mode) -> Bench {
        self.mode = mode;
        self
    }

    /// Sets the file size in bytes. The default is 4,096.
    pub fn size(mut self, bytes: usize) -> Bench {
        self.size = bytes;
        self
    }

    /// Makes each writer start this many operations per second, and measures from the intended start. Without a rate,
    /// each operation starts when the previous one ends.
    pub fn rate(mut self, per_second: f64) -> Bench {
        self.rate = Some(per_second);
        self
    }

    /// Runs the benchmark. Calls `progress` between turns; if it breaks, the run ends early and the results are marked
    /// as partial.
    ///
    /// # Errors
    ///
    /// The path is not a writable directory, there is too little free space, or an operation failed. Everything created
    /// is removed in any case.
    pub fn run(&self, mut progress: impl FnMut(Progress<'_>) -> ControlFlow<()>) -> Result<Results, BenchError> {
        let begin = Instant::now();
        let began = format!("{:.0}", jiff::Timestamp::now());
        let environment = Environment::of(&self.dir);
        let disk = disk(&environment);
        let candidates = select::candidates(self.mode);
        self.check_free_space(&environment, &candidates)?;
        let content = Bytes::from(vec![0x5a; self.size]);
        let mut warnings = Scratch::leftovers(&self.dir);
        let scratch = Scratch::new(&self.dir)?;
        let (rounds, turn) = self.mode.rounds();
        let mut run = Run { disk: &disk, turn, rate: self.rate };
        let mut partial = false;
        let mut report = |what: Progress<'_>| {
            partial |= progress(what).is_break();
            partial
        };
        let planned = turn.mul_f64(candidates.len() as f64 * (f64::from(rounds) + 0.5));
        let (mut subjects, mut not_measured) = (Vec::<Measured>::new(), Vec::new());
        let mut failed = false;
        let mut over = false;
        for (at, candidate) in candidates.into_iter().enumerate() {
            over = over || report(Progress::Prepare);
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
            // The first turn includes one-time work and is not counted. It shows how fast the disk is.
            match run.warm_up(&mut measured) {
                Ok(per_s) if at == 0 => {
                    // Concurrent writers are faster than one: allow a factor of 3.
                    let bytes = (per_s * planned.as_secs_f64() * self.size as f64 * 3.0) as u64;
                    over = report(Progress::Begin { directory: &scratch.0, takes: planned, bytes });
                }
                Ok(_) => {}
                // If even plain calls fail, give up.
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
            // We are idle here, so any disk activity comes from other processes.
            pauses = (pauses.0 + u32::from(disk.is_used_by_others(PAUSE)), pauses.1 + 1);
            // Rotate the order, so that no series always follows the same one.
            for at in 0..subjects.len() {
                if over {
                    break 'rounds;
                }
                let turn = (at + round) % subjects.len();
                if subjects[turn].failed.is_none() {
                    run.turn(&mut subjects[turn]);
                }
                over = report(Progress::Turn { done: (round * subjects.len() + at) as u64 + 1, all });
            }
        }
        // Ignore a single busy pause: it may be writeback of our own data.
        if pauses.0 > 1 {
            let (busy, all) = pauses;
            warnings.push(format!(
                "other processes used this disk during the run ({busy} of {all} pauses); the figures include that"
            ));
        }
        for measured in &subjects {
            if let Some(why) = &measured.failed {
                warnings.push(format!("{} failed during the run: {why}", measured.records[0].name()));
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

    fn check_free_space(&self, environment: &Environment, candidates: &[Candidate]) -> Result<(), BenchError> {
        let needed: u64 = candidates.iter().map(|candidate| candidate.space_needed(self.size)).sum();
        match environment.filesystem.free_bytes {
            Some(free) if free < needed => Err(BenchError::TooLittleRoom { path: self.dir.clone(), free, needed }),
            _ => Ok(()),
        }
    }
}

/// The disk whose flushes are counted: the first device that is not a partition.
fn disk(environment: &Environment) -> Disk {
    environment
        .device
        .iter()
        .find(|device| device.kind != "partition")
        .map_or_else(Disk::default, |device| Disk::named(&device.name))
}

/// A subject and its measurements.
struct Measured {
    subject: Box<dyn Subject>,
    records: Vec<Record>,
    latencies: Latencies,
    /// Why it failed; it then takes no more turns.
    failed: Option<String>,
}

impl Measured {
    fn new(subject: Box<dyn Subject>) -> Measured {
        let records: Vec<_> = subject.series().iter().map(|(name, counted)| Record::new(name, *counted)).collect();
        let latencies = Latencies::new(records.len(), OPERATIONS_MAX);
        Measured { subject, records, latencies, failed: None }
    }
}

struct Run<'a> {
    disk: &'a Disk,
    turn: Duration,
    rate: Option<f64>,
}

impl Run<'_> {
    /// Runs one unmeasured turn. Returns the operations per second.
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
        let mut took = begin.elapsed().saturating_sub(latencies.excluded);
        if let Some(rate) = self.rate {
            // Count the full interval after the last start, although that operation may end earlier.
            took = took.max(Duration::from_secs_f64((self.turn.as_secs_f64() * rate).ceil().max(1.0) / rate));
        }
        let spent = before.until(&Counts::now(self.disk));
        for (record, nanos) in records.iter_mut().zip(&latencies.by_series) {
            record.turn(nanos, latencies.operations, took, spent);
        }
    }
}

/// The directory of a run; removed on drop.
struct Scratch(PathBuf);

/// The prefix of its name.
const SCRATCH: &str = "ringbolt-bench-";

impl Scratch {
    /// Warnings about directories of other runs. Whether such a run is still alive is unknown, so they are not removed.
    fn leftovers(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|name| name.starts_with(SCRATCH))
            .map(|name| format!("{:?} belongs to another run; remove it if that run was killed", dir.join(name)))
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
