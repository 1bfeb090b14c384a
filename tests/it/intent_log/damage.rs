//! Log files that cannot be used: a typed error, and nothing is changed.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::process::Command;

use ringbolt::{Error, ErrorKind, Outcome, Reader, Step, Store};

use super::*;

/// The block of a log, in bytes: the length of the short records here.
fn block(dir: &Path) -> u64 {
    let mut block = [0; 4];
    fs::File::open(log_path(dir)).unwrap().read_exact_at(&mut block, 20).unwrap();
    u32::from_le_bytes(block).into()
}

/// The offset of the record `number` of the script "records", from 0: the first has no change.
fn record(dir: &Path, number: u64) -> u64 {
    AREA + number * block(dir)
}

fn flip(dir: &Path, offset: u64) {
    let mut byte = [0];
    fs::File::open(log_path(dir)).unwrap().read_exact_at(&mut byte, offset).unwrap();
    overwrite(&log_path(dir), offset, &[byte[0] ^ 1]);
}

fn set_len(dir: &Path, len: u64) {
    fs::File::options().write(true).open(log_path(dir)).unwrap().set_len(len).unwrap();
}

/// Writes a superblock of a later version, whose checksum is right.
fn later_version(dir: &Path, slot: u64) {
    let mut block = [0; 256];
    fs::File::open(log_path(dir)).unwrap().read_exact_at(&mut block, slot).unwrap();
    block[16..20].copy_from_slice(&2_u32.to_le_bytes());
    let sum = twox_hash::XxHash3_64::oneshot(&block[16..]);
    block[8..16].copy_from_slice(&sum.to_le_bytes());
    overwrite(&log_path(dir), slot, &block);
}

/// Damage to the log of a killed session: its name, and what the error says.
type Damage = (&'static str, fn(&Path), &'static str);

const DAMAGES: [Damage; 12] = [
    ("missing", |dir| fs::remove_file(log_path(dir)).unwrap(), "it is missing"),
    ("garbage", |dir| fs::write(log_path(dir), pattern(LOG_BYTES as usize)).unwrap(), "neither of its superblocks"),
    ("empty", |dir| fs::write(log_path(dir), "").unwrap(), "neither of its superblocks"),
    ("cut", |dir| set_len(dir, LOG_BYTES - 4096), "it should have 1048576 bytes, and has 1044480"),
    ("longer", |dir| set_len(dir, LOG_BYTES + 4096), "it should have 1048576 bytes, and has 1052672"),
    ("without superblocks", |dir| SLOTS.iter().for_each(|slot| flip(dir, slot + 100)), "neither of its superblocks"),
    ("of a later version", |dir| later_version(dir, SLOTS[0]), "version 2"),
    ("of a later version too", |dir| later_version(dir, SLOTS[1]), "version 2"),
    ("damaged in its first record", |dir| flip(dir, record(dir, 0) + 30), "record 1 at offset 131072 is damaged"),
    ("damaged in the middle", |dir| flip(dir, record(dir, 3) + 50), "record 4 at offset"),
    ("damaged in a value", |dir| flip(dir, record(dir, 2) + 140), "record 3 at offset"),
    ("without its first records", |dir| overwrite(&log_path(dir), AREA, &[0; 3 * 4096]), "record 1 at offset"),
];

#[track_caller]
fn refused(dir: &Path, why: &str, result: Result<(), Error>, what: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::DamagedLog, Outcome::Unchanged), "{what}: {error}");
    assert_eq!((error.step(), error.path()), (Step::ReadLog, log_path(dir).as_path()), "{what}: {error}");
    assert!(error.to_string().contains(why), "{what}: {error}");
}

#[test]
fn a_damaged_log_is_refused_and_nothing_changes() {
    each_logged("damaged logs", |engine, dir| {
        for (what, damage, why) in DAMAGES {
            crash("records", dir, engine);
            damage(dir);
            let before = everything(dir);
            refused(dir, why, builder(dir, engine).open().map(drop), what);
            refused(dir, why, Store::open(dir).map(drop), what);
            assert_same(&everything(dir), &before, what);
            clear(dir);
        }
    });
}

#[test]
fn a_reader_refuses_a_damaged_log() {
    each_logged("damaged logs", |engine, dir| {
        for (what, damage, why) in DAMAGES {
            crash("records", dir, engine);
            damage(dir);
            let before = everything(dir);
            refused(dir, why, Reader::open(dir).map(drop), what);
            assert_same(&everything(dir), &before, what);
            clear(dir);
        }
    });
}

/// Anything but a regular file is not followed, and not waited for.
#[test]
fn a_log_that_is_no_file_is_refused() {
    each_logged("odd logs", |engine, dir| {
        let target = dir.join("target");
        type Make = fn(&Path, &Path);
        let odd: [(&str, Make); 3] = [
            ("a link", |target, log| symlink(target, log).unwrap()),
            ("a directory", |_, log| fs::create_dir(log).unwrap()),
            ("a FIFO", |_, log| run(Command::new("mkfifo").arg(log))),
        ];
        for (what, make) in odd {
            crash("records", dir, engine);
            fs::rename(log_path(dir), &target).unwrap();
            make(&target, &log_path(dir));
            let before = everything(dir);
            for result in
                [builder(dir, engine).open().map(drop), Store::open(dir).map(drop), Reader::open(dir).map(drop)]
            {
                let error = result.unwrap_err();
                assert_eq!(error.path(), log_path(dir), "{what}: {error}");
                assert_eq!(error.outcome(), Outcome::Unchanged, "{what}: {error}");
            }
            assert_same(&everything(dir), &before, what);
            clear(dir);
        }
    });
}

/// One of the two superblocks is enough, whichever is left.
#[test]
fn a_damaged_superblock_costs_nothing() {
    each_logged("one superblock", |engine, dir| {
        for slot in SLOTS {
            crash("every change", dir, engine);
            let before = files(dir);
            fs::write(dir.join("old"), "lost").unwrap();
            fs::remove_file(dir.join("new")).unwrap();
            overwrite(&log_path(dir), slot, &pattern(4096));
            let error = Reader::open(dir).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RecoveryNeeded, "{error}");
            open_logged(dir, engine).close().unwrap();
            assert_same(&files(dir), &before, "after recovery");
            // Both are whole again.
            overwrite(&log_path(dir), SLOTS[0] + SLOTS[1] - slot, &pattern(4096));
            open_logged(dir, engine).put("k", "").unwrap();
            clear(dir);
        }
    });
}

/// The last record may have been in flight when the power failed: what is not whole of it was never acknowledged.
#[test]
fn a_torn_last_record_is_no_damage() {
    each_logged("a torn record", |engine, dir| {
        for at in [0, 8, 60, 110, 140] {
            crash("records", dir, engine);
            let before = files(dir);
            flip(dir, record(dir, 5) + at);
            for key in 1..=5 {
                fs::write(dir.join(format!("k{key}")), "not written back").unwrap();
            }
            let store = open_logged(dir, engine);
            assert_eq!(store.get("k5").unwrap(), "not written back", "not in the log: byte {at}");
            store.delete("k5").unwrap();
            let mut wanted = before;
            wanted.remove(Path::new("k5"));
            assert_same(&files(dir), &wanted, "after recovery");
            // The torn record is not taken for one of a later session.
            store.put("later", "1").unwrap();
            drop(store);
            assert_eq!(open_logged(dir, engine).get("later").unwrap(), "1");
            clear(dir);
        }
    });
}

/// A hole would let a write of the log change the filesystem's own records.
#[test]
fn a_clean_log_with_a_hole_is_made_anew() {
    each_logged("holes", |engine, dir| {
        open_logged(dir, engine).put("k", "1").unwrap();
        let holes = fs::metadata(log_path(dir)).unwrap().blocks();
        let mut punch = Command::new("fallocate");
        punch.args(["-p", "-o", "262144", "-l", "131072"]).arg(log_path(dir));
        if !punch.status().is_ok_and(|status| status.success()) {
            return skip("holes", "fallocate cannot punch any here");
        }
        assert!(fs::metadata(log_path(dir)).unwrap().blocks() < holes);
        let before = files(dir);
        let store = open_logged(dir, engine);
        let stat = fs::metadata(log_path(dir)).unwrap();
        assert_eq!((stat.len(), stat.blocks() * 512 >= LOG_BYTES), (LOG_BYTES, true));
        assert_same(&files(dir), &before, "after the open");
        store.put("k", "2").unwrap();
        drop(store);
        assert_eq!(open_logged(dir, engine).get("k").unwrap(), "2");
    });
}

#[test]
fn a_log_of_another_length_is_made_anew() {
    each_logged("lengths", |engine, dir| {
        for (asked, found) in [(256 << 10, 256 << 10), (1, 256 << 10), (3 << 20, 3 << 20), ((2 << 20) + 1, 2 << 20)] {
            // What is live in the old one is applied first.
            crash("every change", dir, engine);
            let before = files(dir);
            fs::write(dir.join("old"), "lost").unwrap();
            let store = builder(dir, engine).log_bytes(asked).open().unwrap();
            assert_same(&files(dir), &before, "after the open");
            assert_eq!(fs::metadata(log_path(dir)).unwrap().len(), found);
            assert_eq!(store.stats().log.unwrap().capacity, found - AREA);
            store.put("k", pattern(100 << 10)).unwrap();
            store.close().unwrap();
            assert!(!dir.join(".ringbolt/log.new").exists());
            clear(dir);
        }
    });
}

/// The making of a log was interrupted.
#[test]
fn a_log_that_was_never_finished_is_made_anew() {
    each_logged("an unfinished log", |engine, dir| {
        drop(open_logged(dir, engine));
        fs::remove_file(log_path(dir)).unwrap();
        fs::write(dir.join(".ringbolt/log.new"), pattern(5000)).unwrap();
        let store = open_logged(dir, engine);
        store.put("k", "1").unwrap();
        assert!(!dir.join(".ringbolt/log.new").exists());
        assert_eq!(fs::metadata(log_path(dir)).unwrap().len(), LOG_BYTES);
    });
}
