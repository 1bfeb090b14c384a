//! An image, mounted and used as a plain file. Needs root and FUSE; otherwise the tests are skipped with a message.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FallocateFlags, fallocate};
use ringbolt_rig::{IMAGE, Image, Mounted};

const MIB: usize = 1 << 20;

/// Mounts an image, or prints why the test is skipped.
fn mount(what: &str, dir: &Path, delay: Duration) -> Option<Mounted> {
    let why = if !nix::unistd::geteuid().is_root() {
        "not root".to_owned()
    } else if !Path::new("/dev/fuse").exists() {
        "no /dev/fuse".to_owned()
    } else {
        match Image::new(64 * MIB as u64, delay).unwrap().mount(dir) {
            Ok(mounted) => return Some(mounted),
            // In a container, root may not be allowed to mount.
            Err(e) => format!("cannot mount: {e}"),
        }
    };
    // Bypass the test harness, which would capture it. Write it in one piece, so that lines do not mix.
    let _ = std::io::stderr().write_all(format!("skipped {what}: {why}\n").as_bytes());
    None
}

fn open(mounted: &Mounted) -> File {
    OpenOptions::new().read(true).write(true).open(mounted.file()).unwrap()
}

#[test]
fn reads_back_what_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = mount("reads_back_what_it_was_given", dir.path(), Duration::ZERO) else { return };
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [IMAGE]);

    let file = open(&mounted);
    let bytes: Vec<u8> = (0..5 * MIB + 3).map(|n| (n % 251) as u8).collect();
    file.write_all_at(&bytes, 12_345).unwrap();
    drop(file);

    let file = open(&mounted);
    let mut back = vec![0; bytes.len()];
    file.read_exact_at(&mut back, 12_345).unwrap();
    assert!(back == bytes, "other bytes came back");

    let used = fs::metadata(mounted.file()).unwrap();
    assert_eq!(used.len(), 64 * MIB as u64);
    let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, hole, MIB as i64, MIB as i64).unwrap();
    file.read_exact_at(&mut back[..MIB], MIB as u64).unwrap();
    assert!(back[..MIB].iter().all(|byte| *byte == 0), "the hole is not empty");
    file.set_len(0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 64 * MIB as u64, "an image does not change its size");
    assert_eq!(mounted.counts().discards, 1);
    assert!(used.blocks() > 0);

    let end = file.write_at(&[1; 10], 64 * MIB as u64).unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::StorageFull);
    drop(file);
    mounted.unmount().unwrap();
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none());
}

#[test]
fn a_flush_takes_its_time_and_a_close_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let delay = Duration::from_millis(20);
    let Some(mounted) = mount("a_flush_takes_its_time_and_a_close_does_not", dir.path(), delay) else { return };
    let file = open(&mounted);
    assert_eq!(mounted.counts().flushes, 0);
    for count in 1..=5 {
        file.write_all_at(b"x", count).unwrap();
        let start = Instant::now();
        if count % 2 == 0 { file.sync_data() } else { file.sync_all() }.unwrap();
        assert!(start.elapsed() >= delay);
        assert_eq!(mounted.counts().flushes, count);
    }
    drop(file);
    assert_eq!(mounted.counts().flushes, 5);
    assert_eq!(mounted.counts().writes, 5);
    mounted.unmount().unwrap();
}

#[test]
fn serves_reads_while_it_flushes() {
    let dir = tempfile::tempdir().unwrap();
    let delay = Duration::from_secs(2);
    let Some(mounted) = mount("serves_reads_while_it_flushes", dir.path(), delay) else { return };
    let file = open(&mounted);
    let (done, flushed) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            file.sync_all().unwrap();
            done.send(()).unwrap();
        });
        while mounted.counts().flushes == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        // Use a read, because the kernel itself makes a write wait for the flush.
        file.read_exact_at(&mut [0; 4096], 0).unwrap();
        assert!(flushed.try_recv().is_err(), "the read waited for the flush");
    });
    drop(file);
    mounted.unmount().unwrap();
}
