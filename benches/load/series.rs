//! The implementations to compare. Each puts bytes under names.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringbolt::{Barrier, Engine, Store};

pub(crate) const SIZE: usize = 4096;
/// How many files each writer replaces in turn.
const KEYS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Six system calls, as a careful programmer would write them.
    Plain,
    AtomicWriteFile,
    /// `tempfile`'s `persist`, which is not durable.
    Tempfile,
    Ringbolt(Engine, Barrier),
}

impl Kind {
    const AUTO: Kind = Kind::Ringbolt(Engine::Auto, Barrier::Auto);
    const PER_FILE: Kind = Kind::Ringbolt(Engine::Portable, Barrier::PerFile);
    const FILESYSTEM: Kind = Kind::Ringbolt(Engine::Portable, Barrier::Filesystem);
    const JOURNAL: Kind = Kind::Ringbolt(Engine::Portable, Barrier::Journal);
    const LOG: Kind = Kind::Ringbolt(Engine::Portable, Barrier::IntentLog);
    const LOG_RING: Kind = Kind::Ringbolt(Engine::Auto, Barrier::IntentLog);

    pub(crate) const ALL: [Kind; 10] = [
        Kind::Plain,
        Kind::AtomicWriteFile,
        Kind::AUTO,
        Kind::PER_FILE,
        Kind::FILESYSTEM,
        Kind::JOURNAL,
        Kind::LOG,
        Kind::LOG_RING,
        Kind::Ringbolt(Engine::Uring, Barrier::PerFile),
        Kind::Ringbolt(Engine::Uring, Barrier::Filesystem),
    ];
    pub(crate) const SOME: [Kind; 7] =
        [Kind::Plain, Kind::AtomicWriteFile, Kind::AUTO, Kind::PER_FILE, Kind::JOURNAL, Kind::LOG, Kind::LOG_RING];
    pub(crate) const PEERS: [Kind; 2] = [Kind::Plain, Kind::AtomicWriteFile];
    pub(crate) const BATCH: [Kind; 8] = [
        Kind::Plain,
        Kind::Tempfile,
        Kind::AUTO,
        Kind::PER_FILE,
        Kind::FILESYSTEM,
        Kind::JOURNAL,
        Kind::LOG,
        Kind::LOG_RING,
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Kind::Plain => "six plain calls".into(),
            Kind::AtomicWriteFile => "atomic-write-file 0.3.1".into(),
            Kind::Tempfile => "tempfile persist, not durable".into(),
            Kind::AUTO => "ringbolt".into(),
            Kind::LOG_RING => "ringbolt, intent-log, ring".into(),
            Kind::Ringbolt(Engine::Uring, barrier) => format!("ringbolt, {barrier}, uring"),
            Kind::Ringbolt(_, barrier) => format!("ringbolt, {barrier}"),
        }
    }
}

/// How many writers put, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Worker {
    /// This many threads, each doing one put after the other.
    Threads(usize),
    /// This many tasks of one runtime; threads for an implementation without futures.
    Tasks(usize),
    /// One thread with batches of this many; single puts for an implementation without batches.
    Batch(usize),
}

impl Worker {
    pub(crate) fn is_crowd(self) -> bool {
        matches!(self, Worker::Threads(16..) | Worker::Tasks(_))
    }
}

pub(crate) struct Series {
    pub(crate) kind: Kind,
    what: Implementation,
}

enum Implementation {
    Plain(PathBuf, File),
    AtomicWriteFile(PathBuf),
    Tempfile(PathBuf),
    Ringbolt(Arc<Store>),
}

impl Series {
    /// Sets up a series in its own directory. The error says why this machine does not support it.
    pub(crate) fn open(kind: Kind, dir: &Path) -> Result<Series, String> {
        let path = dir.join(kind.name());
        std::fs::create_dir(&path).map_err(|error| error.to_string())?;
        let what = match kind {
            Kind::Plain => {
                let held = File::open(&path).map_err(|error| error.to_string())?;
                Implementation::Plain(path, held)
            }
            Kind::AtomicWriteFile => Implementation::AtomicWriteFile(path),
            Kind::Tempfile => Implementation::Tempfile(path),
            Kind::Ringbolt(engine, barrier) => {
                let store = Store::builder(path).create_if_missing(true).engine(engine).barrier(barrier).open();
                Implementation::Ringbolt(Arc::new(store.map_err(|error| error.to_string())?))
            }
        };
        Ok(Series { kind, what })
    }

    /// Puts for this long. Returns the number of files and the actual duration.
    pub(crate) fn run(&self, worker: Worker, turn: Duration) -> (usize, Duration) {
        let begin = Instant::now();
        let files = match (worker, &self.what) {
            (Worker::Tasks(tasks), Implementation::Ringbolt(store)) => tasks_put(store, tasks, begin, turn),
            (Worker::Batch(size), Implementation::Ringbolt(store)) => batches_put(store, size, begin, turn),
            (Worker::Batch(size), _) => self.threads_put(1, size, begin, turn),
            (Worker::Threads(writers) | Worker::Tasks(writers), _) => self.threads_put(writers, KEYS, begin, turn),
        };
        (files, begin.elapsed())
    }

    /// The store's reason for its choice of barrier, or where the time of its commits goes.
    pub(crate) fn explain(&self) -> Option<String> {
        let Implementation::Ringbolt(store) = &self.what else { return None };
        let stats = store.stats();
        if stats.batches == 0 {
            return None;
        }
        let (batches, files) = (stats.batches, stats.batched as f64 / stats.batches as f64);
        if self.kind == Kind::AUTO {
            let barrier = &stats.barrier;
            return Some(format!(
                "{batches} batches of {files:.0} files, {} by filesystem, {} by per-file, of which {} to try; {}",
                barrier.filesystem, barrier.per_file, barrier.experiments, barrier.reason
            ));
        }
        let log = stats.log?;
        let ms = |latency: ringbolt::Latency| latency.p50.as_secs_f64() * 1e3;
        let (stage, record, names) = (ms(stats.latency.stage), ms(stats.latency.barrier), ms(stats.latency.publish));
        Some(format!(
            "{batches} commits of {files:.1} files; at the median {stage:.2} ms to write the files, {record:.2} ms the record, \
             {names:.2} ms for the names; {} checkpoints",
            log.checkpoints
        ))
    }

    fn put(&self, name: &str) {
        match &self.what {
            Implementation::Plain(dir, held) => plain_replace(dir, held, name),
            Implementation::AtomicWriteFile(dir) => {
                let mut file = atomic_write_file::AtomicWriteFile::open(dir.join(name)).expect("open");
                file.write_all(&[7u8; SIZE]).expect("write");
                file.commit().expect("commit");
            }
            Implementation::Tempfile(dir) => {
                let mut file = tempfile::NamedTempFile::new_in(dir).expect("open");
                file.write_all(&[7u8; SIZE]).expect("write");
                file.persist(dir.join(name)).expect("persist");
            }
            Implementation::Ringbolt(store) => _ = store.put(name, &[7u8; SIZE][..]).expect("put"),
        }
    }

    fn threads_put(&self, writers: usize, names: usize, begin: Instant, turn: Duration) -> usize {
        let put = |writer: usize| {
            let mut files = 0;
            while begin.elapsed() < turn {
                self.put(&format!("{writer}-{}", files % names));
                files += 1;
            }
            files
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..writers).map(|writer| scope.spawn(move || put(writer))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        })
    }
}

fn tasks_put(store: &Arc<Store>, tasks: usize, begin: Instant, turn: Duration) -> usize {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let tasks: Vec<_> = (0..tasks)
            .map(|task| {
                let store = Arc::clone(store);
                tokio::spawn(async move {
                    let mut files = 0;
                    while begin.elapsed() < turn {
                        store.put_async(format!("{task}-{}", files % KEYS), &[7u8; SIZE][..]).await.expect("put");
                        files += 1;
                    }
                    files
                })
            })
            .collect();
        let mut files = 0;
        for task in tasks {
            files += task.await.expect("no panic");
        }
        files
    })
}

fn batches_put(store: &Store, size: usize, begin: Instant, turn: Duration) -> usize {
    let mut files = 0;
    while begin.elapsed() < turn {
        let mut batch = store.batch();
        for i in 0..size {
            batch.put(format!("0-{i}"), &[7u8; SIZE][..]);
        }
        batch.commit().into_result().expect("commit");
        files += size;
    }
    files
}

/// Uses a counter for temporary names, because there is no other writer.
fn plain_replace(dir: &Path, held: &File, name: &str) {
    let temp = dir.join(format!("{name}.tmp"));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temp).expect("open");
    file.write_all(&[7u8; SIZE]).expect("write");
    file.sync_all().expect("fsync");
    drop(file);
    std::fs::rename(&temp, dir.join(name)).expect("rename");
    held.sync_all().expect("fsync of the directory");
}
