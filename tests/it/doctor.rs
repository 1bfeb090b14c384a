//! `Environment` and `ringbolt doctor` on real mounts.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use nix::mount::{MsFlags, mount};
use ringbolt::environment::Environment;
use ringbolt::{Barrier, Store};

use crate::help::*;
use crate::mounts::*;

fn doctor(args: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringbolt")).arg("doctor").args(args).arg(dir).output().unwrap()
}

/// Runs the command, as text and as JSON, and checks that both agree with the library and that the listed barriers
/// work.
#[track_caller]
fn examined(dir: &Path, status: i32) -> (Environment, String) {
    let environment = Environment::of(dir);
    let json = doctor(&["--json"], dir);
    assert_eq!(json.status.code(), Some(status), "{json:?}");
    let mut reported: Environment = serde_json::from_slice(&json.stdout).unwrap();
    // Other processes use the disk, too.
    reported.filesystem.free_bytes = environment.filesystem.free_bytes;
    assert_eq!(reported, environment);
    let keys: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    for key in ["engine", "engine_reason", "io_uring", "filesystem", "device", "directory_fsync", "warnings"] {
        assert!(keys.get(key).is_some(), "{key}");
    }
    let report = doctor(&[], dir);
    assert_eq!(report.status.code(), Some(status), "{report:?}");
    let stderr = String::from_utf8(report.stderr).unwrap();
    assert_eq!(stderr.lines().count(), usize::from(status != 0), "{stderr}");
    assert_eq!(environment.obstacle.is_some(), status == 1);
    let text = String::from_utf8(report.stdout).unwrap();
    for line in text.lines().filter(|line| line.chars().count() > 80) {
        assert!(line.split_whitespace().any(|word| word.len() > 50), "{line}");
    }
    for label in ["kernel", "io_uring", "filesystem", "device", "directory fsync", "engine", "barrier", "warnings"] {
        assert!(text.lines().any(|line| line.starts_with(label)), "{label}: {text}");
    }
    if status == 0 {
        for (name, barrier) in [("filesystem", Barrier::Filesystem), ("journal", Barrier::Journal)] {
            let holds = Store::builder(dir).create_if_missing(true).barrier(barrier).open().is_ok();
            assert_eq!(environment.barriers.iter().any(|reported| reported == name), holds, "{name}: {environment:?}");
        }
    }
    (environment, text)
}

#[track_caller]
fn warns(environment: &Environment, words: &str) {
    assert!(environment.warnings.iter().any(|warning| warning.what.contains(words)), "{words}: {environment:#?}");
}

#[test]
fn the_disk_of_this_machine_is_described() {
    let dir = dir();
    let before = fs::read_dir(dir.path()).unwrap().count();
    let environment = Environment::of(dir.path());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before);
    let (_, text) = examined(dir.path(), 0);
    assert!(text.contains(&environment.filesystem.kind) && text.contains(&environment.kernel), "{text}");
    assert!(environment.kernel.starts_with("Linux "));
    assert_eq!(environment.io_uring.available, engines().contains(&ringbolt::Engine::Uring));
    assert_eq!(environment.io_uring.failing_fsync_severs_links.is_some(), environment.io_uring.available);
}

#[test]
fn a_path_that_is_not_a_directory_is_an_error_in_one_line() {
    let dir = dir();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, words) in [(dir.path().join("missing"), "No such file"), (file, "is not a directory")] {
        for args in [&[][..], &["--json"]] {
            let output = doctor(args, &path);
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.stdout.len(), text.lines().count()), (Some(1), 0, 1), "{text}");
            assert!(text.starts_with("ringbolt: ") && text.contains(words), "{text}");
        }
    }
    assert_eq!(doctor(&["two"], dir.path()).status.code(), Some(2));
    assert_eq!(doctor(&["--nope"], dir.path()).status.code(), Some(2));
}

#[test]
fn without_a_sync_of_directories_the_status_is_1() {
    let (environment, text) = examined(Path::new("/proc"), 1);
    assert!(!environment.directory_fsync.works && environment.directory_fsync.error.is_some());
    assert!(environment.barriers.is_empty() && text.contains("none holds"), "{text}");
    warns(&environment, "This directory cannot hold a store");
}

#[test]
fn a_tmpfs_forgets() {
    with_mounts("doctor on tmpfs", |dir| {
        let memory = tmpfs(dir.join("a b"), "size=16m");
        let (environment, _) = examined(&memory, 0);
        let found = &environment.filesystem;
        assert_eq!((&*found.kind, found.volatile, found.mount_point.as_deref()), ("tmpfs", true, Some(&*memory)));
        assert!(environment.device.is_empty() && found.options.contains(&"size=16384k".to_owned()), "{found:?}");
        warns(&environment, "nothing survives a power cut");
        warns(&environment, "almost full");
        // A subdirectory is on the same mount.
        fs::create_dir(memory.join("sub")).unwrap();
        assert_eq!(Environment::of(memory.join("sub")).filesystem.mount_point, Some(memory.clone()));
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &memory, None::<&str>, flags, None::<&str>).unwrap();
        let (environment, _) = examined(&memory, 1);
        assert!(environment.filesystem.read_only == Some(true) && environment.writable == Some(false));
    });
}

/// Filesystems: mkfs command, mount options, and the expected kind, journal, barriers and warning.
const DISKS: [(&str, &str, &str, bool, bool, &str); 8] = [
    (EXT4, "rw", "ext4", true, true, ""),
    ("mkfs.ext4 -q -F -O ^has_journal", "rw", "ext4", false, true, "has no journal"),
    (EXT4, "nobarrier", "ext4", true, false, "without barriers"),
    (EXT4, "data=writeback", "ext4", true, true, "data=writeback"),
    ("mkfs.ext4 -q -F -O fast_commit", "rw", "ext4", true, true, ""),
    ("mkfs.ext2 -q -F", "rw", "ext2", false, true, "has no journal"),
    (XFS, "rw", "xfs", true, true, ""),
    (BTRFS, "rw", "btrfs", true, true, ""),
];

#[test]
fn disks_are_described() {
    for (make, options, kind, journal, barriers, words) in DISKS {
        with_mounts("doctor on disks", |dir| {
            let Some(disk) = disk(dir, make, options) else { return };
            let (environment, text) = examined(&disk, 0);
            let found = &environment.filesystem;
            assert_eq!(
                (&*found.kind, found.journal, found.barriers),
                (kind, Some(journal), Some(barriers)),
                "{make} {options}"
            );
            assert_eq!(found.mount_point.as_deref(), Some(&*disk));
            assert_eq!(found.fast_commit, (kind == "ext4").then_some(make.ends_with("fast_commit")), "{make}");
            assert!(found.free_bytes > Some(64 << 20) && found.total_bytes <= Some(512 << 20));
            let device = &environment.device[0];
            assert_eq!((&*device.kind, device.size_bytes), ("loop", Some(512 << 20)));
            assert!(device.scheduler.is_some() && device.write_cache.is_some() && device.fua.is_some());
            // Its file is on a tmpfs, so the filesystem on it is volatile.
            assert_eq!(device.backing_file.as_deref(), Some(&*dir.join("backing/image")));
            assert_eq!(device.backing_filesystem.as_ref().unwrap().kind, "tmpfs");
            assert!(found.volatile && environment.device.len() == 1, "{text}");
            warns(&environment, "is a loop device");
            warns(&environment, "this is tmpfs");
            warns(&environment, words);
            let tried = ["ext4", "xfs", "btrfs"].contains(&kind);
            let expected = 2 + usize::from(!words.is_empty()) + usize::from(!tried);
            assert_eq!(environment.warnings.len(), expected, "{text}");
        });
    }
}

#[test]
fn a_subvolume_is_on_its_btrfs() {
    with_mounts("doctor on a subvolume", |dir| {
        let Some(disk) = disk(dir, BTRFS, "rw") else { return };
        let sub = disk.join("sub");
        run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&sub));
        let (environment, _) = examined(&sub, 0);
        assert_eq!((&*environment.filesystem.kind, environment.device.len()), ("btrfs", 1));
        assert_eq!(environment.filesystem.mount_point.as_deref(), Some(&*disk));
    });
}

#[test]
fn a_file_on_a_disk_is_followed_to_the_disk() {
    with_mounts("doctor on a loop device", |dir| {
        let (image, at) = (dir.join("image"), dir.join("disk"));
        File::create(&image).unwrap().set_len(128 << 20).unwrap();
        fs::create_dir(&at).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
        let (environment, beneath) = (examined(&at, 0).0, Environment::of(dir));
        let backing = environment.device[0].backing_filesystem.as_ref().unwrap();
        assert_eq!((&backing.kind, &backing.options), (&beneath.filesystem.kind, &beneath.filesystem.options));
        assert_eq!(environment.device[1..], beneath.device);
        assert_eq!(environment.filesystem.volatile, beneath.filesystem.volatile);
    });
}

fn overlay(upper: &Path, at: PathBuf, options: &str) -> PathBuf {
    for name in ["lower", "up,per", "work"] {
        fs::create_dir(upper.join(name)).unwrap();
    }
    fs::create_dir(&at).unwrap();
    let path = |name: &str| upper.join(name).display().to_string().replace(',', "\\,");
    let options = format!("lowerdir={},upperdir={},workdir={}{options}", path("lower"), path("up,per"), path("work"));
    mount(Some("overlay"), &at, Some("overlay"), MsFlags::empty(), Some(&*options)).unwrap();
    at
}

#[test]
fn an_overlay_is_followed_to_its_upper_directory() {
    with_mounts("doctor on an overlay", |dir| {
        let Some(disk) = disk(dir, "mkfs.ext4 -q -F -O ^has_journal", "rw") else { return };
        let over = overlay(&disk, dir.join("over"), "");
        let (environment, text) = examined(&over, 0);
        assert_eq!(environment.filesystem.kind, "overlay");
        assert_eq!(environment.filesystem.beneath.as_ref().unwrap().kind, "ext4", "{text}");
        assert_eq!(environment.device[0].kind, "loop");
        warns(&environment, "Beneath the overlay: this ext4 has no journal");
        assert!(!text.contains("mounted with `volatile`"));
    });
    with_mounts("doctor on a volatile overlay", |dir| {
        let Some(disk) = disk(dir, EXT4, "rw") else { return };
        let over = overlay(&disk, dir.join("over"), ",volatile");
        let (environment, _) = examined(&over, 0);
        assert!(environment.filesystem.volatile);
        warns(&environment, "mounted with `volatile`");
    });
}

#[test]
fn without_sys_the_devices_are_not_known() {
    with_mounts("doctor without /sys", |dir| {
        let known = Environment::of(dir);
        mount(Some("tmpfs"), "/sys", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let environment = Environment::of(dir);
        assert!(environment.device.is_empty());
        if !known.device.is_empty() {
            warns(&environment, "/sys cannot be read");
        }
    });
}

#[test]
fn a_missing_write_permission_is_reported() {
    if !nix::unistd::geteuid().is_root() {
        return skip("doctor as another user", "needs root");
    }
    let dir = dir();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let environment = thread::scope(|scope| {
        let look = || {
            // Changes the user for file access, for this thread only.
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
            Environment::of(dir.path())
        };
        scope.spawn(look).join().unwrap()
    });
    assert!(environment.directory_fsync.works && environment.writable == Some(false), "{environment:?}");
    assert!(environment.obstacle.as_ref().unwrap().contains("no permission to write"));
    warns(&environment, "no permission to write");
}

#[test]
#[cfg(feature = "uring")]
fn a_refused_io_uring_is_reported() {
    use nix::libc;
    crate::refusals::refusing(libc::SYS_io_uring_setup, libc::EPERM, || {
        let environment = Environment::of(dir().path());
        assert!(!environment.io_uring.available && environment.io_uring.failing_fsync_severs_links.is_none());
        assert!(environment.io_uring.reason.contains("seccomp"), "{}", environment.io_uring.reason);
        assert_eq!(environment.obstacle.is_none(), cfg!(feature = "portable"));
    });
}
