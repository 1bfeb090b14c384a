//! What one durable 4 KiB replace costs: ringbolt's engines, six plain calls, and atomic-write-file, round by round in
//! turn, with 1, 8 and 64 writers. The directory is `RINGBOLT_BENCH_DIR`, else one in the target directory.
//!
//! Prints the median files/s over the rounds, its ratio to the plain calls of the same round, and context switches and
//! flushes of the device a file.
#![allow(clippy::print_stdout)]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use ringbolt::{Barrier, Engine, Store};

const SIZE: usize = 4096;

/// ringbolt, by engine and barrier.
const SERIES: [(&str, Engine, Barrier); 6] = [
    ("auto", Engine::Auto, Barrier::Auto),
    ("per-file", Engine::Portable, Barrier::PerFile),
    ("filesystem", Engine::Portable, Barrier::Filesystem),
    ("journal", Engine::Portable, Barrier::Journal),
    ("uring per-file", Engine::Uring, Barrier::PerFile),
    ("uring filesystem", Engine::Uring, Barrier::Filesystem),
];

/// One of the things that are compared: puts the bytes under a name.
struct Series {
    name: &'static str,
    put: Box<dyn Fn(&str) + Sync>,
}

fn main() {
    // `cargo test --benches` only asks whether it runs.
    let quick = std::env::args().any(|arg| arg == "--test");
    let (rounds, round) = if quick { (1, Duration::from_millis(5)) } else { (5, Duration::from_millis(400)) };
    let base = std::env::var_os("RINGBOLT_BENCH_DIR").map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
    let dir = tempfile::Builder::new().prefix("ringbolt-bench-").tempdir_in(&base).expect("a directory to write in");
    println!("directory {}, {SIZE} bytes a file, {rounds} rounds of {} ms", base.display(), round.as_millis());

    let all = series(dir.path());
    let device = Device::of(dir.path());
    for writers in [1, 8, 64] {
        let mut rates = vec![Vec::new(); all.len()];
        let mut switches = vec![Vec::new(); all.len()];
        let mut flushes = vec![Vec::new(); all.len()];
        for turn in 0..rounds {
            // The order rotates, so that no series always follows the same one.
            for i in (0..all.len()).map(|i| (i + turn) % all.len()) {
                let flushed = device.flushes();
                let (rate, switched, files) = measure(&all[i], writers, round);
                rates[i].push(rate);
                switches[i].push(switched);
                flushes[i].push(device.flushes().zip(flushed).map_or(f64::NAN, |(b, a)| (b - a) as f64 / files));
            }
        }
        println!("\n{writers} writer(s)            files/s   x plain (min-max)   switches/file  flushes/file");
        for (i, series) in all.iter().enumerate() {
            let ratios: Vec<f64> = rates[i].iter().zip(&rates[0]).map(|(rate, plain)| rate / plain).collect();
            println!(
                "{:20} {:9.0}   {:.2} ({:.2}-{:.2})  {:10.1} {:>12}",
                series.name,
                median(&rates[i]),
                median(&ratios),
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(0.0, f64::max),
                median(&switches[i]),
                Some(median(&flushes[i])).filter(|n| !n.is_nan()).map_or("n/a".into(), |n| format!("{n:.2}"))
            );
        }
    }
}

fn series(dir: &Path) -> Vec<Series> {
    let sub = |name: &str| {
        let path = dir.join(name);
        std::fs::create_dir(&path).expect("a fresh directory");
        path
    };
    let (plain, awf) = (sub("plain"), sub("atomic-write-file"));
    let plain_dir = Arc::new(File::open(&plain).expect("just created"));
    let mut all = vec![
        Series { name: "plain calls", put: Box::new(move |name| plain_replace(&plain, &plain_dir, name)) },
        Series { name: "atomic-write-file", put: Box::new(move |name| peer(&awf.join(name))) },
    ];
    for (name, engine, barrier) in SERIES {
        match Store::builder(sub(name)).engine(engine).barrier(barrier).open() {
            Ok(store) => {
                let put = move |key: &str| drop(store.put(key, &[7u8; SIZE][..]).expect("put"));
                all.push(Series { name, put: Box::new(put) });
            }
            Err(error) => println!("{name}: n/a: {error}"),
        }
    }
    all
}

/// Files/s, context switches a file, and files.
fn measure(series: &Series, writers: usize, round: Duration) -> (f64, f64, f64) {
    let before = switches();
    let begin = Instant::now();
    let files: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                scope.spawn(move || {
                    let mut files = 0;
                    while begin.elapsed() < round {
                        (series.put)(&format!("{writer}-{}", files % 16));
                        files += 1;
                    }
                    files
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    let files = files as f64;
    (files / begin.elapsed().as_secs_f64(), (switches() - before) as f64 / files, files)
}

/// The block device of a directory, where the system tells of it.
struct Device(Option<PathBuf>);

impl Device {
    fn of(dir: &Path) -> Device {
        let device = std::os::unix::fs::MetadataExt::dev(&dir.metadata().expect("just created"));
        let (major, minor) = (nix::libc::major(device as _), nix::libc::minor(device as _));
        Device(Some(PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"))).filter(|path| path.exists()))
    }

    /// Flushes so far: the sixteenth field of its statistics (Linux 5.5, Documentation/block/stat.rst).
    fn flushes(&self) -> Option<u64> {
        std::fs::read_to_string(self.0.as_ref()?).ok()?.split_whitespace().nth(15)?.parse().ok()
    }
}

/// The same six calls, as a careful programmer would write them, with a counter for a name.
fn plain_replace(dir: &Path, held: &File, name: &str) {
    let temp = dir.join(format!("{name}.tmp"));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temp).expect("open");
    file.write_all(&[7u8; SIZE]).expect("write");
    file.sync_all().expect("fsync");
    drop(file);
    std::fs::rename(&temp, dir.join(name)).expect("rename");
    held.sync_all().expect("fsync of the directory");
}

fn peer(path: &Path) {
    let mut file = atomic_write_file::AtomicWriteFile::open(path).expect("open");
    file.write_all(&[7u8; SIZE]).expect("write");
    file.commit().expect("commit");
}

fn switches() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("getrusage");
    usage.voluntary_context_switches() + usage.involuntary_context_switches()
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
