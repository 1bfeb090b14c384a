//! Counters besides the latencies: the disk's statistics, and the CPU time and context switches of this process.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// The disk beneath a directory, whose statistics the kernel may provide.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    stat: Option<PathBuf>,
    /// Whether the device queues requests itself. Flushes are counted only then: for device-mapper and md the count stays 0.
    queues: bool,
}

/// Cumulative disk statistics (Linux, Documentation/block/stat.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DiskCounts {
    reads: u64,
    pub(super) writes: u64,
    pub(super) sectors: u64,
    /// Since Linux 5.5; counted for the whole disk only.
    pub(super) flushes: Option<u64>,
}

impl Disk {
    /// The disk with a name such as `vda` or `loop0`. Use the disk, not a partition: flushes are not counted for partitions.
    pub(super) fn named(name: &str) -> Disk {
        // In /sys, a slash in a device name is replaced by `!`.
        let at = Path::new("/sys/block").join(name.replace('/', "!"));
        Disk { queues: at.join("mq").exists(), stat: Some(at.join("stat")).filter(|path| path.exists()) }
    }

    fn counts(&self) -> Option<DiskCounts> {
        let text = fs::read_to_string(self.stat.as_ref()?).ok()?;
        let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        let [reads, writes, sectors] = [0, 4, 6].map(|at| fields.get(at).copied());
        Some(DiskCounts {
            reads: reads?,
            writes: writes?,
            sectors: sectors?,
            flushes: fields.get(15).copied().filter(|_| self.queues),
        })
    }

    /// Sleeps for `during`, and returns whether the disk was used meanwhile, that is by other processes.
    pub(super) fn is_used_by_others(&self, during: Duration) -> bool {
        let before = self.counts();
        thread::sleep(during);
        before != self.counts()
    }
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    disk: Option<DiskCounts>,
    cpu_us: Option<f64>,
    switches: Option<f64>,
}

/// The difference of the counters between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) flushes: Option<f64>,
    pub(super) writes: Option<f64>,
    pub(super) kib: Option<f64>,
    pub(super) cpu_us: Option<f64>,
    pub(super) switches: Option<f64>,
}

impl Counts {
    pub(super) fn now(disk: &Disk) -> Counts {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        Counts {
            disk: disk.counts(),
            cpu_us: usage.as_ref().map(|usage| micros(usage.user_time()) + micros(usage.system_time())),
            switches: usage.as_ref().map(switches),
        }
    }

    pub(super) fn until(&self, end: &Counts) -> Spent {
        let disk = |field: &dyn Fn(&DiskCounts) -> Option<u64>| {
            let (begin, end) = (field(self.disk.as_ref()?)?, field(end.disk.as_ref()?)?);
            Some(end.wrapping_sub(begin) as f64)
        };
        Spent {
            flushes: disk(&|counts| counts.flushes),
            writes: disk(&|counts| Some(counts.writes)),
            // These statistics count sectors of 512 bytes, whatever the disk's sector size.
            kib: disk(&|counts| Some(counts.sectors)).map(|sectors| sectors / 2.0),
            cpu_us: self.cpu_us.zip(end.cpu_us).map(|(begin, end)| end - begin),
            switches: self.switches.zip(end.switches).map(|(begin, end)| end - begin),
        }
    }
}

impl Spent {
    pub(super) fn add(&mut self, other: Spent) {
        let sum = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b);
        self.flushes = sum(self.flushes, other.flushes);
        self.writes = sum(self.writes, other.writes);
        self.kib = sum(self.kib, other.kib);
        self.cpu_us = sum(self.cpu_us, other.cpu_us);
        self.switches = sum(self.switches, other.switches);
    }

    pub(super) const ZERO: Spent =
        Spent { flushes: Some(0.0), writes: Some(0.0), kib: Some(0.0), cpu_us: Some(0.0), switches: Some(0.0) };
}

fn micros(time: TimeVal) -> f64 {
    time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64
}

fn switches(usage: &Usage) -> f64 {
    (usage.voluntary_context_switches() + usage.involuntary_context_switches()) as f64
}
