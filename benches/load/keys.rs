//! A store of 100,000 keys in 1,100 directories: how long it takes to fill, and to open after an orderly close and
//! after a crash.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ringbolt::Store;

const GROUPS: usize = 100;
const DIRS: usize = 10;
const FILES: usize = 100;

pub(crate) fn show(dir: &Path, rounds: usize) {
    let (small, large) = (dir.join("small"), dir.join("large"));
    fs::create_dir_all(&small).and_then(|()| fs::create_dir_all(&large)).expect("directories");
    let begin = Instant::now();
    let store = Store::create(&large).expect("create");
    for group in 0..GROUPS {
        let mut batch = store.batch();
        for i in 0..DIRS * FILES {
            batch.put(format!("{group}/{}/{i}", i / FILES), &[7u8; 512][..]);
        }
        batch.commit().into_result().expect("commit");
    }
    let filled = begin.elapsed();
    store.close().expect("close");
    Store::create(&small).expect("create").close().expect("close");

    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 0..rounds {
        for (times, (dir, clean)) in
            times.iter_mut().zip([(&small, true), (&large, true), (&small, false), (&large, false)])
        {
            if !clean {
                // Simulates a kill.
                fs::remove_file(dir.join(".ringbolt/clean")).expect("the marker of an orderly end");
            }
            let begin = Instant::now();
            let store = Store::open(dir).expect("open");
            store.put("k", round.to_string()).expect("put");
            store.close().expect("close");
            times.push(begin.elapsed());
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    let [small, large, swept_small, swept_large] = times.each_mut().map(median);
    println!("\n### {} keys in {} directories\n", GROUPS * DIRS * FILES, GROUPS * (DIRS + 1));
    println!("filled in {:.1} s, by batches of {}\n", filled.as_secs_f64(), DIRS * FILES);
    println!("| open, put one, close (ms) | empty store | {} keys |", GROUPS * DIRS * FILES);
    println!("|---|---|---|");
    println!("| after an orderly end | {small:.2} | {large:.2} |");
    println!("| after a kill | {swept_small:.2} | {swept_large:.1} |");
}
