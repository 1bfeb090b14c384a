//! System information: the device, CPU time and memory; and a process that keeps a filesystem busy.

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::{Usage, UsageWho, getrusage};

/// The block device of a directory, if known.
pub(crate) struct Device(Option<PathBuf>);

impl Device {
    pub(crate) fn of(dir: &Path) -> Device {
        let device = dir.metadata().expect("just created").dev();
        let (major, minor) = (nix::libc::major(device as _), nix::libc::minor(device as _));
        Device(Some(PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"))).filter(|path| path.exists()))
    }

    /// Flushes so far: the sixteenth field of the device's statistics (Linux 5.5, Documentation/block/stat.rst).
    pub(crate) fn flushes(&self) -> Option<u64> {
        fs::read_to_string(self.0.as_ref()?).ok()?.split_whitespace().nth(15)?.parse().ok()
    }
}

pub(crate) fn usage() -> Usage {
    getrusage(UsageWho::RUSAGE_SELF).expect("getrusage")
}

/// CPU time, user and system.
pub(crate) fn processor_us(usage: &Usage) -> f64 {
    let part = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64;
    part(usage.user_time()) + part(usage.system_time())
}

pub(crate) fn switches(usage: &Usage) -> f64 {
    (usage.voluntary_context_switches() + usage.involuntary_context_switches()) as f64
}

/// The machine, and the filesystem of a directory.
pub(crate) fn describe(dir: &Path) -> String {
    format!("{}, {}", kernel_and_processors(), filesystem(dir))
}

/// The kernel and the processors.
pub(crate) fn kernel_and_processors() -> String {
    let kernel =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    // Only the number, without the distributor's suffix.
    let kernel = kernel.split('-').next().unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, |n| n.get());
    format!("Linux {kernel}, {cpus} processors")
}

/// The filesystem of a directory, and its device.
pub(crate) fn filesystem(dir: &Path) -> String {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            dir.starts_with(fields.get(1)?).then(|| (fields[1].len(), format!("{} on {}", fields[2], fields[0])))
        })
        .max_by_key(|(len, _)| *len);
    mount.map_or("filesystem unknown".into(), |(_, mount)| mount)
}

/// Resident memory and its peak, in bytes (proc_pid_status(5)).
pub(crate) fn memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}

/// Resets the peak of resident memory (proc_pid_clear_refs(5)).
pub(crate) fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Writes 1 MiB about 50 times per second to a file, without syncing it, until killed.
pub(crate) fn make_noise(path: &Path) {
    let mut file = fs::File::create(path).expect("a file to write");
    let piece = vec![7; 1 << 20];
    loop {
        for _ in 0..256 {
            if file.write_all(&piece).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = file.rewind();
    }
}
