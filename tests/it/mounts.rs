//! Filesystems for single tests, in separate mount namespaces, so that nothing is left behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::help::*;

/// Runs `test` on a thread with its own mount namespace. The mounts end with the thread.
pub(crate) fn with_mounts(what: &str, test: impl FnOnce(&Path) + Send) {
    let here = dir();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(errno) = unshare(CloneFlags::CLONE_NEWNS) {
                return skip(what, format_args!("needs root: {errno}"));
            }
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
            test(here.path());
        });
        thread.join().unwrap();
    });
}

/// A fresh tmpfs.
pub(crate) fn tmpfs(at: PathBuf, options: &str) -> PathBuf {
    fs::create_dir(&at).unwrap();
    mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
    at
}

/// A fresh filesystem of at most 512 MiB on a loop device, made by a command such as `mkfs.ext4 -q -F` and mounted with
/// options. Its image is on a tmpfs. The kernel detaches the device with the last mount. `None` if the command is not
/// installed.
pub(crate) fn disk(dir: &Path, make: &str, options: &str) -> Option<PathBuf> {
    let mut words = make.split(' ');
    let mut command = Command::new(words.next().unwrap());
    if command.arg("-V").output().is_err() {
        skip(make, "not installed");
        return None;
    }
    let image = tmpfs(dir.join("backing"), "size=1g").join("image");
    File::create(&image).unwrap().set_len(512 << 20).unwrap();
    run(Command::new(command.get_program()).args(words).arg(&image));
    let at = dir.join("disk");
    fs::create_dir(&at).unwrap();
    run(Command::new("mount").args(["-o", &format!("loop,{options}")]).arg(&image).arg(&at));
    Some(at)
}

pub(crate) const EXT4: &str = "mkfs.ext4 -q -F";
pub(crate) const XFS: &str = "mkfs.xfs -q -f";
pub(crate) const BTRFS: &str = "mkfs.btrfs -q -f";

pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A frozen filesystem: every change on it blocks until this is dropped. Create it after the store, so that it is
/// dropped first: closing the store would block, too.
#[must_use]
pub(crate) struct Frozen<'a>(&'a Path);

impl<'a> Frozen<'a> {
    pub(crate) fn new(at: &'a Path) -> Frozen<'a> {
        run(Command::new("fsfreeze").arg("-f").arg(at));
        Frozen(at)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run(Command::new("fsfreeze").arg("-u").arg(self.0));
    }
}
