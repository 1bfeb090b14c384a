//! Durable replaces by engine and file size, next to other crates.
//!
//! ```text
//! cargo bench --features bench --bench replace [-- --save-baseline NAME | --baseline NAME]
//! ```
//!
//! Finds regressions between versions; `benches/load` compares under load. The directory is `RINGBOLT_BENCH_DIR`, or
//! one in the target directory.

mod common;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::bench::Replacer;

const SIZES: [usize; 4] = [512, 4 << 10, 64 << 10, 1 << 20];

fn replace(criterion: &mut Criterion) {
    let base = common::fresh_dir();
    let dir = |name: &str| {
        let path = base.path().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        path
    };
    let (crate_dir, persist_dir) = (dir("atomic-write-file"), dir("tempfile"));
    let held = File::open(&persist_dir).expect("the directory");
    let mut group = common::group(criterion, "replace");
    for size in SIZES {
        let bytes = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        for (engine, word) in common::ENGINES {
            match Replacer::new(dir(word), engine, bytes.clone()) {
                Ok(replacer) => bench(&mut group, word, size, || replacer.replace().expect("a replace")),
                Err(why) => common::skip(&format!("replace/{word}/{size}"), why),
            }
        }
        bench(&mut group, "atomic-write-file", size, || timed(|| atomic_write_file(&crate_dir, &bytes)));
        bench(&mut group, "tempfile", size, || timed(|| persist(&persist_dir, &held, &bytes)));
    }
    group.finish();
}

fn bench(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, size: usize, mut replace: impl FnMut() -> Duration) {
    // The first write creates the file.
    replace();
    group.bench_function(BenchmarkId::new(name, size), |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| replace()).sum());
    });
}

fn timed(replace: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    replace();
    begin.elapsed()
}

/// It syncs the file and the directory.
fn atomic_write_file(dir: &Path, bytes: &[u8]) {
    let mut file = atomic_write_file::AtomicWriteFile::open(dir.join("target")).expect("open");
    file.write_all(bytes).expect("write");
    file.commit().expect("commit");
}

/// With the syncs that `tempfile` leaves to its caller, so that it is as durable as the others.
fn persist(dir: &Path, held: &File, bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new_in(dir).expect("open");
    file.write_all(bytes).expect("write");
    file.as_file().sync_all().expect("fsync");
    file.persist(dir.join("target")).expect("persist");
    held.sync_all().expect("fsync of the directory");
}

criterion_group!(benches, replace);
criterion_main!(benches);
