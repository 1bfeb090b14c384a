//! Readers and second writers in other processes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use ringbolt::{ErrorKind, Reader, Store};

use super::*;

/// A child that holds a store open. It closes the store at the end of its input, and puts every line.
pub(super) struct Holder {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Holder {
    pub(super) fn new(dir: &Path, engine: Engine) -> Holder {
        let mut child = child("hold", dir, engine);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut holder = Holder { child, lines };
        holder.wait();
        holder
    }

    /// Waits until the child has put what it was sent.
    pub(super) fn wait(&mut self) {
        let mut line = String::new();
        while !line.ends_with("ready\n") {
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the child ended: {line}");
        }
    }

    pub(super) fn send(&mut self, line: &str) {
        writeln!(self.child.stdin.as_ref().unwrap(), "{line}").unwrap();
    }

    pub(super) fn put(&mut self, line: &str) {
        self.send(line);
        self.wait();
    }

    pub(super) fn begin_close(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(super) fn close(mut self) {
        self.begin_close();
        assert!(self.child.wait().unwrap().success());
    }

    pub(super) fn begin_kill(mut self) -> Holder {
        self.child.kill().unwrap();
        self
    }

    pub(super) fn kill(self) {
        self.begin_kill().child.wait().unwrap();
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

#[test]
fn a_reader_is_refused_after_a_kill_until_the_store_was_opened() {
    each_logged("readers", |engine, dir| {
        let mut holder = Holder::new(dir, engine);
        holder.put("second");
        let early = Reader::open(dir).unwrap();
        assert_eq!(early.get("held").unwrap(), "second");
        holder.kill();
        let before = everything(dir);
        let error = Reader::open(dir).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::RecoveryNeeded, log_path(dir).as_path()), "{error}");
        assert!(error.to_string().contains("changes: 2"), "{error}");
        assert_same(&everything(dir), &before, "after the refusal");
        fs::write(dir.join("held"), "lost").unwrap();
        drop(open(dir, engine));
        assert_eq!(Reader::open(dir).unwrap().get("held").unwrap(), "second");
    });
}

#[test]
fn a_reader_works_beside_a_writer_and_after_it() {
    each_logged("readers", |engine, dir| {
        let mut holder = Holder::new(dir, engine);
        assert_eq!(format(dir), "ringbolt store 2\n");
        for n in 0..20 {
            holder.put(&n.to_string());
            let reader = Reader::open(dir).unwrap();
            let (content, version) = reader.get_versioned("held").unwrap();
            assert_eq!(content, n.to_string());
            assert!(version.is_some());
            assert_eq!(reader.list("").unwrap().count(), 1);
        }
        // Readers that come and go do not keep the writer from closing, nor the next one from opening.
        let reader = Reader::open(dir).unwrap();
        holder.close();
        assert_eq!((reader.get("held").unwrap(), format(dir)), ("19".into(), "ringbolt store 1\n".into()));
        open_logged(dir, engine).put("held", "again").unwrap();
        assert_eq!(Reader::open(dir).unwrap().get("held").unwrap(), "again");
    });
}

/// A process that stands still holds its store as any other.
#[test]
fn a_second_writer_is_refused_while_the_first_lives() {
    each_logged("two writers", |engine, dir| {
        let mut holder = Holder::new(dir, engine);
        let refused = || {
            let log = fs::read(log_path(dir)).unwrap();
            for result in [builder(dir, engine).open(), Store::open(dir)] {
                assert!(result.unwrap_err().is_locked());
            }
            assert!(fs::read(log_path(dir)).unwrap() == log);
        };
        refused();
        kill(holder.pid(), Signal::SIGSTOP).unwrap();
        let stopped = waitpid(holder.pid(), Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(holder.pid(), Signal::SIGSTOP));
        refused();
        assert_eq!(Reader::open(dir).unwrap().get("held").unwrap(), "by a child");
        kill(holder.pid(), Signal::SIGCONT).unwrap();
        holder.put("after the stop");
        refused();
        holder.close();
        assert_eq!(open_logged(dir, engine).get("held").unwrap(), "after the stop");
    });
}

/// While a writer recovers, the files are not yet what was acknowledged.
#[test]
fn a_reader_is_refused_while_a_writer_recovers() {
    each_logged("a reader beside a recovery", |engine, dir| {
        crash("records", dir, engine);
        // It has locked the log, and has not begun its session.
        let file = fs::File::open(log_path(dir)).unwrap();
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno).unwrap();
        let error = Reader::open(dir).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RecoveryNeeded, "{error}");
        drop(held);
        let store = open_logged(dir, engine);
        Reader::open(dir).unwrap();
        let recovered = |store: &Store| store.stats().log.unwrap().recovered;
        assert!(recovered(&store) >= 5 && store.stats().changes == 0);
        drop(store);
        assert_eq!(recovered(&open_logged(dir, engine)), 0);
    });
}

/// A process that was killed may have a write of the log in flight, and holds the lock of the file until that has ended.
#[test]
fn an_open_waits_for_the_last_holder_of_the_log() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("the last holder of a log", "strace is not installed");
    }
    each_logged("the last holder of a log", |engine, dir| {
        crash("records", dir, engine);
        fs::write(dir.join("k1"), "lost").unwrap();
        let file = fs::File::open(log_path(dir)).unwrap();
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno).unwrap();
        let trace = dir.join(".ringbolt/trace");
        let mut strace = under_strace(&child("recover", dir, engine), &["-e", "trace=flock", "-o"], &trace);
        let mut strace = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let is_waiting = || fs::read_to_string(&trace).is_ok_and(|trace| trace.contains("EAGAIN"));
        while !is_waiting() {
            assert!(strace.try_wait().unwrap().is_none(), "it did not wait");
            std::thread::yield_now();
        }
        assert_eq!(fs::read(dir.join("k1")).unwrap(), b"lost");
        drop(held);
        assert!(strace.wait().unwrap().success());
        assert_eq!(fs::read(dir.join("k1")).unwrap(), b"logged 1");
    });
}

/// The same command, traced into a file.
fn under_strace(child: &Command, options: &[&str], output: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq"]).args(options).arg(output).arg(child.get_program()).args(child.get_args());
    strace.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace
}

/// Another user may read the files and not the log: the store is read only while it is closed in order.
#[test]
fn a_reader_of_another_user_is_refused_unless_the_store_is_closed() {
    if !nix::unistd::geteuid().is_root() {
        return skip("a reader of another user", "needs root");
    }
    each_logged("a reader of another user", |engine, dir| {
        let as_nobody = || {
            std::thread::scope(|scope| {
                let read = || {
                    // The identity of this thread only.
                    nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
                    Reader::open(dir).map(drop)
                };
                scope.spawn(read).join().unwrap()
            })
        };
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        let holder = Holder::new(dir, engine);
        assert!(as_nobody().unwrap_err().is_permission_denied());
        holder.kill();
        assert!(as_nobody().unwrap_err().is_permission_denied());
        drop(open_logged(dir, engine));
        as_nobody().unwrap();
    });
}
