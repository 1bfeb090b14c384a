//! Counters and latencies of a store.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::barrier::{Barrier, BarrierKind};
use crate::engine::EngineKind;
use crate::lock;

/// A snapshot of what a store has done since it was opened: [`Store::stats`](crate::Store::stats).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Changes (puts, deletes, renames) that were acknowledged as durable.
    pub changes: u64,
    /// Changes that failed, each with an error to its caller.
    pub failed: u64,
    /// Bytes of content put.
    pub bytes: u64,
    /// Changes made by solo callers, without a batch.
    pub alone: u64,
    /// Batches committed.
    pub batches: u64,
    /// Changes in those batches. Divided by `batches`, the mean batch size.
    pub batched: u64,
    /// The size of the largest batch.
    pub largest_batch: u64,
    /// Operations that were tried again, because an open directory had been moved or removed, or because no descriptor was left
    /// and some were released.
    pub fallbacks: u64,
    /// Sync calls.
    pub syncs: Syncs,
    /// What is in progress now.
    pub queue: QueueStats,
    /// How the files of batches become durable.
    pub barrier: BarrierStats,
    /// The intent log, if the store has one open.
    pub log: Option<LogStats>,
    /// Latencies.
    pub latency: Latencies,
}

/// Numbers of sync calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Syncs {
    /// `fsync` of a file.
    pub files: u64,
    /// `sync_file_range` of a file instead ([`Barrier::Journal`]).
    pub ranges: u64,
    /// `syncfs` of batches. The probes of `Auto` are not included.
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

/// How the files of batches become durable, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BarrierStats {
    /// The configured barrier.
    pub configured: Barrier,
    /// The barrier of the last batch; `None` before the first.
    pub last: Option<BarrierKind>,
    /// The reason, in words.
    pub reason: String,
    /// Batches by `PerFile`.
    pub per_file: u64,
    /// Batches by `Filesystem`.
    pub filesystem: u64,
    /// Batches by `Journal`.
    pub journal: u64,
    /// Batches by `IntentLog`.
    pub intent_log: u64,
    /// Batches that used the other barrier to measure it.
    pub experiments: u64,
}

/// The intent log: [`Barrier::IntentLog`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// How records are written: through a ring of the log's own, or by plain system calls.
    pub engine: EngineKind,
    /// The bytes of the log that records take now. A checkpoint begins when half of the capacity is in use.
    pub used: u64,
    /// The bytes that records can take at most.
    pub capacity: u64,
    /// Records written since the store was opened: one for each commit.
    pub records: u64,
    /// Checkpoints made since the store was opened.
    pub checkpoints: u64,
    /// Checkpoints among them whose sync failed, after which the files were written again from the log.
    pub rewritten: u64,
    /// How long commits have waited for a checkpoint to make room, in all. They slow down when three quarters of the capacity are in
    /// use. A larger log ([`StoreBuilder::log_bytes`](crate::StoreBuilder::log_bytes)) makes this shorter.
    pub waited: Duration,
    /// Changes that were brought from the log into the files when the store was opened.
    pub recovered: u64,
}

/// Latencies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latencies {
    /// From the call to the acknowledgement of a change.
    pub change: Latency,
    /// In a batch: creating and writing the files.
    pub stage: Latency,
    /// In a batch: making the files durable.
    pub barrier: Latency,
    /// In a batch: changing the names.
    pub publish: Latency,
    /// In a batch: syncing the directories.
    pub sync_dirs: Latency,
}

/// A summary of durations, accurate to about 1 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// The number of durations.
    pub count: u64,
    /// The median.
    pub p50: Duration,
    /// The 90th percentile.
    pub p90: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// The parts of a commit that are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Change,
    Stage,
    Barrier,
    Publish,
    SyncDirs,
}

const PARTS: usize = 5;

/// Collects counters and durations.
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
    /// Starts again from nothing.
    pub(crate) fn reset(&self) {
        let Recorder { changes, failed, bytes, alone, batches, batched, largest_batch, fallbacks, .. } = self;
        let Recorder { files, ranges, filesystems, directories, times, .. } = self;
        let counts = [changes, failed, bytes, alone, batches, batched, largest_batch, fallbacks];
        let syncs = [files, ranges, filesystems, directories];
        counts.into_iter().chain(syncs).for_each(|count| count.0.store(0, Ordering::Relaxed));
        *lock(times) = None;
    }

    /// Records several durations with the lock taken once.
    pub(crate) fn times(&self, times: impl IntoIterator<Item = (Part, Duration)>) {
        let mut histograms = lock(&self.times);
        let histograms = histograms.get_or_insert_with(|| std::array::from_fn(|_| histogram()));
        for (part, time) in times {
            let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            histograms[part as usize].saturating_record(time_ns);
        }
    }

    pub(crate) fn stats(&self, queue: QueueStats, barrier: BarrierStats, log: Option<LogStats>) -> Stats {
        let histograms = lock(&self.times);
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
            log,
            latency: Latencies {
                change: latency(Part::Change),
                stage: latency(Part::Stage),
                barrier: latency(Part::Barrier),
                publish: latency(Part::Publish),
                sync_dirs: latency(Part::SyncDirs),
            },
        }
    }
}

/// Range: a microsecond to an hour, to two digits. Allocated on first use: a command that puts one file does not need it.
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
            intent_log: 0,
            experiments: 0,
        };
        let latency = recorder.stats(QueueStats::default(), barrier, None).latency;
        assert_eq!((latency.barrier.count, latency.stage.count), (1000, 0));
        let near = |found: Duration, wanted: u64| found.as_micros().abs_diff(wanted.into()) <= u128::from(wanted / 50);
        assert!(near(latency.barrier.p50, 500) && near(latency.barrier.p99, 990) && near(latency.barrier.max, 1000));
        assert!(latency.change.max >= Duration::from_secs(3_600));
    }
}
