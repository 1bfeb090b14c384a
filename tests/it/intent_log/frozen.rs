//! A frozen filesystem: what needs it blocks until it is thawed, and then succeeds.

use std::fs;
use std::thread;

use super::readers::Holder;
use super::*;

/// Waits until a thread of this process is blocked in a call that cannot be interrupted.
fn wait_until_blocked(process: i32) {
    let is_blocked = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('D'))
    };
    while !fs::read_dir(format!("/proc/{process}/task")).unwrap().map(Result::unwrap).any(is_blocked) {
        thread::yield_now();
    }
}

#[test]
fn a_put_waits_for_the_thaw() {
    each_disk("a frozen put", |engine, dir| {
        let mut holder = Holder::new(dir, engine);
        holder.put("before");
        let frozen = Frozen::new(dir.parent().unwrap());
        holder.send("after");
        wait_until_blocked(holder.pid().as_raw());
        assert_eq!(fs::read(dir.join("held")).unwrap(), b"before");
        drop(frozen);
        holder.wait();
        assert_eq!(fs::read(dir.join("held")).unwrap(), b"after");
        holder.kill();
        fs::write(dir.join("held"), "lost").unwrap();
        assert_eq!(open_logged(dir, engine).get("held").unwrap(), "after");
    });
}

#[test]
fn a_close_waits_for_the_thaw() {
    each_disk("a frozen close", |engine, dir| {
        let mut holder = Holder::new(dir, engine);
        holder.put("live in the log");
        let frozen = Frozen::new(dir.parent().unwrap());
        holder.begin_close();
        wait_until_blocked(holder.pid().as_raw());
        assert_eq!(format(dir), "ringbolt store 2\n");
        drop(frozen);
        holder.close();
        assert_eq!(format(dir), "ringbolt store 1\n");
        assert!(dir.join(".ringbolt/clean").exists());
        assert_eq!(open_logged(dir, engine).get("held").unwrap(), "live in the log");
    });
}

/// Killed while its write is blocked: the next open waits for the end of that write, or finds that there was none.
#[test]
fn a_writer_that_is_killed_while_it_is_frozen_loses_nothing() {
    each_disk("a frozen kill", |engine, dir| {
        let mut holder = Holder::new(dir, engine);
        holder.put("acknowledged");
        let frozen = Frozen::new(dir.parent().unwrap());
        holder.send("in flight");
        wait_until_blocked(holder.pid().as_raw());
        let dead = holder.begin_kill();
        drop(frozen);
        let store = open_when_unlocked(dir, engine);
        dead.kill();
        let found = store.get("held").unwrap();
        assert!(found == "acknowledged" || found == "in flight", "{found:?}");
        assert!(temporaries(dir).is_empty());
    });
}

/// The dying process may hold its lock a moment longer.
fn open_when_unlocked(dir: &Path, engine: Engine) -> Store {
    loop {
        match builder(dir, engine).open() {
            Err(error) if error.is_locked() => thread::yield_now(),
            store => return store.unwrap(),
        }
    }
}
