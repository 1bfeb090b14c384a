//! What a store has done, and how long it took.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::barrier::{Barrier, BarrierKind};

/// What a store has done since it was opened, at one moment: [`Store::stats`](crate::Store::stats).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Changes (puts, deletes, renames) that were acknowledged as durable.
    pub changes: u64,
    /// Changes that failed, each with an error to its caller.
    pub failed: u64,
    /// Bytes of the files that were put.
    pub bytes: u64,
    /// Changes made by their callers alone, without a batch.
    pub alone: u64,
    /// Batches committed.
    pub batches: u64,
    /// Changes in those batches; divided by `batches`, the changes a batch.
    pub batched: u64,
    /// The most changes in one batch.
    pub largest_batch: u64,
    /// Where another way than the usual was gone: a directory held open was moved or removed and had to be opened again, or
    /// descriptors ran out and some were given up.
    pub fallbacks: u64,
    /// Calls that make durable.
    pub syncs: Syncs,
    /// What is under way now.
    pub queue: QueueStats,
    /// How files of a batch are made durable.
    pub barrier: BarrierStats,
    /// How long things took.
    pub latency: Latencies,
}

/// How many calls made something durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Syncs {
    /// `fsync` of a file.
    pub files: u64,
    /// `sync_file_range` of a file instead ([`Barrier::Journal`]).
    pub ranges: u64,
    /// `syncfs` of batches; not those by which is found out whether one takes long.
    pub filesystems: u64,
    /// `fsync` of a directory, for changes in it.
    pub directories: u64,
}

/// What waits in the queue or is being committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Changes queued or being committed.
    pub changes: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Callers that wait for room in the queue.
    pub in_line: usize,
}

/// How the files of a batch are made durable, and why that way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BarrierStats {
    /// What the store was opened with.
    pub configured: Barrier,
    /// What the last batch used; `None` before the first.
    pub last: Option<BarrierKind>,
    /// Why, in words.
    pub reason: String,
    /// Batches by `PerFile`.
    pub per_file: u64,
    /// Batches by `Filesystem`.
    pub filesystem: u64,
    /// Batches by `Journal`.
    pub journal: u64,
    /// Batches that tried what was not the choice, to learn what it costs.
    pub experiments: u64,
}

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latencies {
    /// A change, from the call to the acknowledgement.
    pub change: Latency,
    /// Of a batch: creating and writing its files.
    pub stage: Latency,
    /// Of a batch: making the files durable.
    pub barrier: Latency,
    /// Of a batch: changing the names.
    pub publish: Latency,
    /// Of a batch: syncing the directories.
    pub sync_dirs: Latency,
}

/// Durations of one kind, to about 1 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// Half took no longer.
    pub p50: Duration,
    /// 90 of 100 took no longer.
    pub p90: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// The parts of a commit that are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Change,
    Stage,
    Barrier,
    Publish,
    SyncDirs,
}

const PARTS: usize = 5;

/// Counts what happens.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) changes: Count,
    pub(crate) failed: Count,
    pub(crate) bytes: Count,
    pub(crate) alone: Count,
    pub(crate) batches: Count,
    pub(crate) batched: Count,
    pub(crate) largest_batch: Count,
    pub(crate) fallbacks: Count,
    pub(crate) files: Count,
    pub(crate) ranges: Count,
    pub(crate) filesystems: Count,
    pub(crate) directories: Count,
    times: Mutex<Option<[Histogram<u64>; PARTS]>>,
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::Relaxed);
    }

    pub(crate) fn raise(&self, n: usize) {
        self.0.fetch_max(n as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Recorder {
    /// Notes many durations at once: the lock is taken once.
    pub(crate) fn times(&self, times: impl IntoIterator<Item = (Part, Duration)>) {
        let mut histograms = self.histograms();
        let histograms = histograms.get_or_insert_with(|| std::array::from_fn(|_| histogram()));
        for (part, time) in times {
            let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            histograms[part as usize].saturating_record(time_ns);
        }
    }

    pub(crate) fn stats(&self, queue: QueueStats, barrier: BarrierStats) -> Stats {
        let histograms = self.histograms();
        let latency =
            |part: Part| histograms.as_ref().map_or(Latency::default(), |all| Latency::of(&all[part as usize]));
        Stats {
            changes: self.changes.get(),
            failed: self.failed.get(),
            bytes: self.bytes.get(),
            alone: self.alone.get(),
            batches: self.batches.get(),
            batched: self.batched.get(),
            largest_batch: self.largest_batch.get(),
            fallbacks: self.fallbacks.get(),
            syncs: Syncs {
                files: self.files.get(),
                ranges: self.ranges.get(),
                filesystems: self.filesystems.get(),
                directories: self.directories.get(),
            },
            queue,
            barrier,
            latency: Latencies {
                change: latency(Part::Change),
                stage: latency(Part::Stage),
                barrier: latency(Part::Barrier),
                publish: latency(Part::Publish),
                sync_dirs: latency(Part::SyncDirs),
            },
        }
    }

    fn histograms(&self) -> MutexGuard<'_, Option<[Histogram<u64>; PARTS]>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From a microsecond to an hour, to two digits. Made when first needed: a command that puts one file has no use for it.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 3_600_000_000_000, 2).expect("valid bounds")
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile| Duration::from_nanos(histogram.value_at_quantile(quantile));
        Latency {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: Duration::from_nanos(histogram.max()),
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("changes", &self.changes)
            .field("batches", &self.batches)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back_to_about_a_percent() {
        let recorder = Recorder::default();
        recorder.times((1..=1000).map(|n| (Part::Barrier, Duration::from_micros(n))));
        recorder.times([(Part::Change, Duration::from_secs(100_000))]);
        let barrier = BarrierStats {
            configured: Barrier::Auto,
            last: None,
            reason: String::new(),
            per_file: 0,
            filesystem: 0,
            journal: 0,
            experiments: 0,
        };
        let latency = recorder.stats(QueueStats::default(), barrier).latency;
        assert_eq!((latency.barrier.count, latency.stage.count), (1000, 0));
        let near = |found: Duration, wanted: u64| found.as_micros().abs_diff(wanted.into()) <= u128::from(wanted / 50);
        assert!(near(latency.barrier.p50, 500) && near(latency.barrier.p99, 990) && near(latency.barrier.max, 1000));
        assert!(latency.change.max >= Duration::from_secs(3_600));
    }
}
