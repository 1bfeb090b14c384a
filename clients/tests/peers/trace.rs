//! Records the system calls of a test case: each test runs itself again under strace, and parses the output.

use std::any::type_name_of_val;
use std::collections::HashMap;
use std::fmt::Debug;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use tempfile::TempDir;

const CALLS: &str = "trace=openat,write,pwrite64,copy_file_range,fsync,fdatasync,sync_file_range,syncfs,rename,renameat,renameat2,\
                     link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,setxattr,lsetxattr,fsetxattr,io_uring_enter";
const DIR: &str = "RINGBOLT_TEST_PEER";
const MODE: u32 = 0o604;
/// The names used by the cases. Any other name is temporary.
const NAMES: [&str; 9] = ["k", "k2", "k#1", "k2#1", "d", "e", "tmp", "tmpfile.tmp", ".ringbolt"];
/// The file size limit of a limited case.
pub const LIMIT: usize = 64 << 10;

/// Prints in one line which test is skipped and why. Bypasses output capture.
fn skip(what: &str, why: impl std::fmt::Display) -> Seen {
    let _ = writeln!(std::io::stderr(), "skipped {what}: {why}");
    Seen(None)
}

/// A case as the child sees it: its own directory.
pub struct Case {
    pub dir: PathBuf,
}

impl Case {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Creates a file beforehand, without the tested crate, with a mode that no crate uses.
    pub fn old(&self, name: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), "old").unwrap();
        fs::set_permissions(self.path(name), PermissionsExt::from_mode(MODE)).unwrap();
    }

    /// Starts recording. Only calls between this and [`end`](Case::end), or the end of the process, count.
    pub fn begin(&self) {
        assert!(fs::File::open(self.path("begin")).is_err());
    }

    pub fn end(&self) {
        assert!(fs::File::open(self.path("end")).is_err());
    }

    /// Limits file sizes to [`LIMIT`] from now on.
    pub fn limit(&self) {
        // The default action of SIGXFSZ ends the process. Threads inherit the mask.
        SigSet::from_iter([Signal::SIGXFSZ]).thread_block().unwrap();
        let hard = getrlimit(Resource::RLIMIT_FSIZE).unwrap().1;
        setrlimit(Resource::RLIMIT_FSIZE, LIMIT as u64, hard).unwrap();
    }

    /// Ends the process at once, without dropping anything.
    pub fn crash<T>(&self, _alive: T) -> ! {
        self.end();
        std::process::exit(0)
    }
}

/// Which calls should fail.
#[derive(Default)]
pub struct Fault {
    /// In the syntax of strace: `fsync:error=EIO:when=1`.
    pub inject: &'static str,
    /// Fail only calls on this name; `None` for all calls.
    pub on: Option<&'static str>,
}

/// The result of a case; `None` in the child, and if strace is missing.
pub struct Seen(Option<(TempDir, Vec<String>)>);

/// Runs a case in a child.
pub fn traced(case: impl FnOnce(&Case)) -> Seen {
    faulty(Fault::default(), case)
}

/// Runs a case in a child whose system calls fail as specified.
pub fn faulty(fault: Fault, case: impl FnOnce(&Case)) -> Seen {
    // `peers::module::test::{{closure}}`: the child runs only that test.
    let name = type_name_of_val(&case).to_owned();
    let name = name.split_once("::").unwrap().1.trim_end_matches("::{{closure}}");
    if let Some(dir) = std::env::var_os(DIR) {
        case(&Case { dir: dir.into() });
        return Seen(None);
    }
    match Command::new("strace").args(["-o", "/dev/null", "true"]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skip(name, String::from_utf8_lossy(&output.stderr).trim()),
        Err(_) => return skip(name, "strace is not installed"),
    }
    // On the disk of the target directory: the system's temporary directory is often a tmpfs.
    let (dir, log) =
        (tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), tempfile::NamedTempFile::new().unwrap());
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "0", "-e", CALLS, "-o"]).arg(log.path());
    if !fault.inject.is_empty() {
        strace.args(["-e", &format!("inject={}", fault.inject)]);
    }
    for name in fault.on.iter().flat_map(|name| [name, "begin", "end"]) {
        strace.arg("-P").arg(dir.path().join(name));
    }
    strace.arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture", "--test-threads=1"]);
    let output = strace.env(DIR, dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let calls = between(&fs::read_to_string(log.path()).unwrap(), dir.path());
    Seen(Some((dir, calls)))
}

impl Seen {
    /// Asserts exactly these calls, in this order, and exactly these files afterwards.
    #[track_caller]
    pub fn is<C: AsRef<str> + Debug>(self, calls: &[C], files: &[&str]) -> Seen {
        if let Some((_, seen)) = &self.0 {
            let expected: Vec<&str> = calls.iter().map(C::as_ref).collect();
            assert_eq!(*seen, expected);
        }
        self.leaves(files)
    }

    /// Asserts exactly these files, as `name: content`.
    #[track_caller]
    pub fn leaves(self, files: &[&str]) -> Seen {
        if let Some((dir, _)) = &self.0 {
            let mut found = Vec::new();
            look(dir.path(), dir.path(), &mut found);
            found.sort();
            assert_eq!(found, files);
        }
        self
    }

    /// Whether `k` has the mode of the file that it replaced.
    #[track_caller]
    pub fn keeps_the_mode(self, expected: bool) -> Seen {
        self.then(|dir| {
            let mode = fs::metadata(dir.join("k")).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode == MODE, expected, "{mode:o}");
        })
    }

    /// The number of calls that start with this text.
    #[track_caller]
    pub fn count(self, start: &str, expected: std::ops::RangeInclusive<usize>) -> Seen {
        if let Some((_, seen)) = &self.0 {
            let count = seen.iter().filter(|call| call.starts_with(start)).count();
            assert!(expected.contains(&count), "{count} calls of {start}: {seen:?}");
        }
        self
    }

    /// Runs `act` afterwards, in this process.
    #[track_caller]
    pub fn then(self, later: impl FnOnce(&Path)) -> Seen {
        if let Some((dir, _)) = &self.0 {
            later(dir.path());
        }
        self
    }
}

/// The visible files, without a store's own directory.
fn look(dir: &Path, root: &Path, found: &mut Vec<String>) {
    let entries: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in entries.iter().filter(|path| !path.ends_with(".ringbolt")) {
        let name = short(path, root).unwrap();
        if path.is_dir() {
            look(path, root, found);
            if fs::read_dir(path).unwrap().next().is_none() {
                found.push(name + "/");
            }
            continue;
        }
        let content = fs::read(path).unwrap();
        found.push(match content.len() {
            ..20 => format!("{name}: {}", String::from_utf8_lossy(&content).replace('\0', "0")),
            len => format!("{name}: {len} bytes"),
        });
    }
}

/// The calls between the marks, abbreviated. Consecutive writes to a file are merged.
fn between(log: &str, root: &Path) -> Vec<String> {
    let (mut calls, mut began, mut unfinished) = (Vec::new(), false, HashMap::new());
    for line in log.lines() {
        let (thread, line) = line.split_once(' ').unwrap();
        let mut line = line.trim().to_owned();
        if let Some(head) = line.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, head.to_owned());
            continue;
        }
        if let Some((_, tail)) = line.split_once(" resumed>") {
            let Some(head) = unfinished.remove(thread) else { continue };
            line = head + tail;
        }
        if line.starts_with("openat(") && line.contains("/begin\"") {
            (began, calls) = (true, Vec::new());
        } else if line.starts_with("openat(") && line.contains("/end\"") {
            break;
        } else if let Some(call) = words(&line, root)
            && (calls.last() != Some(&call) || !["write ", "copy "].iter().any(|call_of| call.starts_with(call_of)))
        {
            calls.push(call);
        }
    }
    assert!(began, "the child did not begin");
    calls
}

/// Abbreviates `fsync(5</dir/k>) = 0` to "sync k", if the path is in the test's directory.
fn words(line: &str, root: &Path) -> Option<String> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().trim_end_matches(')');
    let (mut names, mut open, mut at) = (Vec::new(), Vec::new(), PathBuf::new());
    for argument in arguments.split(", ") {
        if let Some(name) = argument.strip_prefix('"') {
            names.push(at.join(name.trim_end_matches('.').trim_end_matches('"')));
        } else if let Some((_, path)) = argument.split_once('<') {
            at = path.split('>').next()?.into();
            open.push(at.clone());
        }
    }
    let short = |paths: &[PathBuf], n: usize| short(paths.get(n)?, root);
    let call = match name {
        "openat" if arguments.contains("O_EXCL") => format!("create {}", short(&names, 0)?),
        "openat" if arguments.contains("O_TRUNC") => format!("truncate {}", short(&names, 0)?),
        "openat" if arguments.contains("O_CREAT") => format!("open {}", short(&names, 0)?),
        "write" | "pwrite64" => format!("write {}", short(&open, 0)?),
        "copy_file_range" => format!("copy {}", short(&open, 1)?),
        "fsync" => format!("sync {}", short(&open, 0)?),
        "fdatasync" | "sync_file_range" | "syncfs" | "io_uring_enter" => format!("{name} {}", short(&open, 0)?),
        "rename" | "renameat" | "renameat2" => {
            let new = if arguments.contains("RENAME_NOREPLACE") { "-new" } else { "" };
            format!("rename{new} {} {}", short(&names, 0)?, short(&names, 1)?)
        }
        "link" | "linkat" => format!("link {} {}", short(&names, 0)?, short(&names, 1)?),
        "unlinkat" if arguments.contains("AT_REMOVEDIR") => format!("rmdir {}", short(&names, 0)?),
        "unlink" | "unlinkat" => format!("unlink {}", short(&names, 0)?),
        "rmdir" => format!("rmdir {}", short(&names, 0)?),
        "mkdir" | "mkdirat" => format!("mkdir {}", short(&names, 0)?),
        "setxattr" | "lsetxattr" => format!("setxattr {}", short(&names, 0)?),
        "fsetxattr" => format!("setxattr {}", short(&open, 0)?),
        _ => return None,
    };
    match result.strip_prefix("-1 ").and_then(|error| error.split(' ').next()) {
        None => Some(call),
        // Skip lookups and failed calls, which change nothing.
        Some("ENOENT" | "EEXIST") if ["openat", "mkdir", "mkdirat"].contains(&name) => None,
        Some(error) => Some(format!("{call}: {error}")),
    }
}

/// A path relative to the directory, with temporary names replaced by `TEMP`.
fn short(path: &Path, root: &Path) -> Option<String> {
    let parts = path.strip_prefix(root).ok()?.iter().map(|part| part.to_str().unwrap());
    let parts: Vec<&str> = parts.map(|part| if NAMES.contains(&part) { part } else { "TEMP" }).collect();
    Some(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}
