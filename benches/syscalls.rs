//! The calls of one durable replace of 4 KiB, one by one: as plain calls, and as awaited requests through a ring.
//!
//! ```text
//! cargo bench --features bench --bench syscalls [-- --save-baseline NAME | --baseline NAME]
//! ```
//!
//! Finds regressions between versions. Every iteration does a whole replace, so that each call runs under realistic
//! conditions, but only the named call is timed. The directory is `RINGBOLT_BENCH_DIR`, or one in the target directory.

mod common;

use std::ffi::CStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, close, unlinkat};
use ringbolt::Engine;
use ringbolt::bench::{Replacer, TimedCall};

const SIZE: usize = 4096;
const TEMP: &CStr = c"temporary";
const TARGET: &CStr = c"target";

const CALLS: [TimedCall; 6] = [
    TimedCall::OpenClose,
    TimedCall::Write,
    TimedCall::Fsync,
    TimedCall::Close,
    TimedCall::Rename,
    TimedCall::FsyncDir,
];

/// Plain calls, without an engine.
struct Plain {
    dir: File,
    bytes: Vec<u8>,
}

impl Plain {
    fn new(dir: &Path) -> Plain {
        Plain { dir: File::open(dir).expect("the directory"), bytes: vec![7; SIZE] }
    }

    fn create(&self) -> File {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        File::from(openat(&self.dir, TEMP, flags, Mode::from_bits_truncate(0o600)).expect("openat"))
    }

    /// Replaces the file, and returns how long each of the six calls took.
    fn replace(&self) -> [Duration; 6] {
        let begin = Instant::now();
        let file = self.create();
        let opened = Instant::now();
        file.write_all_at(&self.bytes, 0).expect("write");
        let written = Instant::now();
        file.sync_all().expect("fsync");
        let synced = Instant::now();
        close(file).expect("close");
        let closed = Instant::now();
        renameat(&self.dir, TEMP, &self.dir, TARGET).expect("renameat");
        let renamed = Instant::now();
        self.dir.sync_all().expect("fsync of the directory");
        let all = [begin, opened, written, synced, closed, renamed, Instant::now()];
        std::array::from_fn(|call| all[call + 1] - all[call])
    }

    fn open_close(&self) -> Duration {
        let begin = Instant::now();
        close(self.create()).expect("close");
        let took = begin.elapsed();
        unlinkat(&self.dir, TEMP, UnlinkatFlags::NoRemoveDir).expect("unlinkat");
        took
    }
}

fn bench_with(group: &mut BenchmarkGroup<'_, WallTime>, id: &str, mut call: impl FnMut() -> Duration) {
    group.bench_function(id, |bencher| bencher.iter_custom(|iterations| (0..iterations).map(|_| call()).sum()));
}

fn syscalls(criterion: &mut Criterion) {
    let dir = common::fresh_dir();
    let plain = Plain::new(dir.path());
    plain.replace();
    // If io_uring is unavailable, say so once.
    let ring = Replacer::new(dir.path(), Engine::Uring, vec![7; SIZE]);
    if let Err(why) = &ring {
        common::skip("syscalls/*/uring", why);
    }
    let mut openat = common::group(criterion, "syscalls/openat");
    bench_with(openat.throughput(Throughput::Elements(1)), "plain", || plain.replace()[0]);
    openat.finish();
    for call in CALLS {
        let mut group = common::group(criterion, &format!("syscalls/{call}"));
        group.throughput(if call == TimedCall::Write {
            Throughput::Bytes(SIZE as u64)
        } else {
            Throughput::Elements(1)
        });
        bench_with(&mut group, "plain", || match call {
            TimedCall::OpenClose => plain.open_close(),
            TimedCall::Write => plain.replace()[1],
            TimedCall::Fsync => plain.replace()[2],
            TimedCall::Close => plain.replace()[3],
            TimedCall::Rename => plain.replace()[4],
            _ => plain.replace()[5],
        });
        if let Ok(ring) = &ring {
            bench_with(&mut group, "uring", || ring.call(call).expect("a replace"));
        }
        group.finish();
    }
}

criterion_group!(benches, syscalls);
criterion_main!(benches);
