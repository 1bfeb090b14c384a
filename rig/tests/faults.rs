//! Disks that fail with EIO, under ext4, xfs and btrfs, on both engines. Needs root, FUSE and loop devices; otherwise
//! the tests are skipped with a message.

use std::io::Write;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use ringbolt::{Engine, Error, Outcome, Store};
use ringbolt_rig::crash::{Filesystem, Lab, windows};
use ringbolt_rig::{Chunks, Record, Refuse};

const OLD: &[u8] = b"as it was";

/// New contents: part of a block, and many blocks.
const LENGTHS: [usize; 2] = [100, 40_000];

/// Runs a test with a disk, in a mount namespace of its thread, or prints why it is skipped.
fn with_lab(what: &str, test: impl Fn(&Lab)) {
    let skip = |why: String| {
        // Bypass the test harness, which would capture it. Write it in one piece, so that lines do not mix.
        let _ = std::io::stderr().write_all(format!("skipped {what}: {why}\n").as_bytes());
    };
    if !nix::unistd::geteuid().is_root() {
        return skip("not root".to_owned());
    }
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWNS) {
        return skip(format!("no mount namespace: {errno}"));
    }
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    let base = tempfile::tempdir().unwrap();
    mount(Some("faults"), base.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    match Lab::new(base.path()) {
        Ok(lab) => test(&lab),
        Err(error) => skip(error.to_string()),
    }
    umount2(base.path(), MntFlags::MNT_DETACH).unwrap();
}

fn open(root: &Path, engine: Engine) -> Store {
    Store::builder(root.join("store")).engine(engine).create_if_missing(true).open().unwrap()
}

/// A disk with a store in which `a`, `b` and `d/c` have old contents.
fn prepare(lab: &Lab, filesystem: Filesystem) -> Chunks {
    lab.make(filesystem).unwrap();
    let mount = lab.mount(filesystem, "").unwrap();
    let store = open(mount.path(), Engine::Portable);
    for key in ["a", "b", "d/c"] {
        store.put(key, OLD).unwrap();
    }
    store.close().unwrap();
    mount.unmount().unwrap();
    lab.disk().content()
}

fn everywhere(lab: &Lab, test: impl Fn(Filesystem, Engine, Chunks)) {
    for filesystem in Filesystem::ALL {
        let content = prepare(lab, filesystem);
        for engine in [Engine::Portable, Engine::Uring] {
            test(filesystem, engine, content.clone());
        }
    }
}

fn new(len: usize) -> Vec<u8> {
    (0..len).map(|n| n as u8 | 1).collect()
}

/// Whether an error says that the change may have happened.
fn may_have_happened(error: &Error) -> bool {
    error.outcome() == Outcome::Unknown
}

/// The content of `a`; `None` if the filesystem has shut down.
fn reads(store: &Store, content: &[u8], at: &str) {
    match store.get("a") {
        Ok(found) => assert!(found == content, "{at}: {} bytes", found.len()),
        Err(error) => assert_eq!(error.raw_os_error(), Some(nix::libc::EIO), "{at}: {error}"),
    }
}

/// While the disk fails, no change is acknowledged and the reported outcomes are true. Once the disk works again, all
/// earlier acknowledged changes are there.
#[test]
fn a_disk_that_refuses_everything() {
    with_lab("a_disk_that_refuses_everything", |lab| {
        for refuse in [Refuse::Writes, Refuse::Flushes] {
            everywhere(lab, |filesystem, engine, content| {
                let at = format!("{filesystem} {engine:?} {refuse:?}");
                lab.load(content).unwrap();
                let mount = lab.mount(filesystem, "").unwrap();
                let store = open(mount.path(), engine);
                lab.disk().refuse(refuse);
                let put = store.put("a", new(5000)).expect_err(&at);
                if !may_have_happened(&put) {
                    reads(&store, OLD, &at);
                }
                let delete = store.delete("b").expect_err(&at);
                let rename = store.rename("d/c", "d/e").expect_err(&at);
                let mut batch = store.batch();
                batch.put("d/1", "1").put("d/2", "2");
                batch.then().put("d/3", "3");
                let batch = batch.commit();
                assert!(batch.results().iter().all(Result::is_err), "{at}: {batch:?}");
                // A store that no longer knows what is durable is poisoned.
                let unknown = [&put, &delete, &rename].into_iter().any(may_have_happened);
                if unknown {
                    assert!(store.put("z", "z").expect_err(&at).is_poisoned(), "{at}");
                }
                drop(store);
                lab.disk().refuse(Refuse::Nothing);
                mount.unmount().unwrap();

                let mount = lab.mount(filesystem, "").unwrap();
                let store = open(mount.path(), engine);
                let a = store.get("a").unwrap();
                assert!(a == OLD || (may_have_happened(&put) && a == new(5000)), "{at}: {} bytes", a.len());
                assert!(store.get("b").is_ok() || may_have_happened(&delete), "{at}");
                let c = [store.get("d/c"), store.get("d/e")].map(|c| c.is_ok());
                assert!(c[0] || (c[1] && may_have_happened(&rename)), "{at}: {c:?}");
                let left = std::fs::read_dir(store.path()).unwrap();
                let left =
                    left.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "tmp"));
                assert_eq!(left.count(), 0, "{at}");
                store.put("a", new(6000)).unwrap();
                store.close().unwrap();
                mount.unmount().unwrap();
            });
        }
    });
}

/// Fails each request that a put causes, in turn; then cuts the power. An acknowledged put survives both, a put
/// reported as unchanged changed nothing, and every content is complete.
#[test]
fn one_request_that_fails_at_any_moment() {
    with_lab("one_request_that_fails_at_any_moment", |lab| {
        everywhere(lab, |filesystem, engine, content| {
            for len in LENGTHS {
                let mut failed = 0;
                for n in 0.. {
                    let at = format!("{filesystem} {engine:?}, {len} bytes, request {n} fails");
                    lab.load(content.clone()).unwrap();
                    lab.disk().record();
                    let mount = lab.mount(filesystem, "").unwrap();
                    let store = open(mount.path(), engine);
                    lab.disk().refuse(Refuse::One(n));
                    let put = store.put("a", new(len));
                    let was_met = lab.disk().refuses() == Refuse::Nothing;
                    lab.disk().refuse(Refuse::Nothing);
                    let log = lab.disk().recorded();
                    match &put {
                        Err(error) if may_have_happened(error) => failed += 1,
                        Err(_) => {
                            failed += 1;
                            reads(&store, OLD, &at);
                        }
                        Ok(_) => reads(&store, &new(len), &at),
                    }
                    drop(store);
                    mount.unmount().unwrap();
                    for kept in [false, true] {
                        lab.load(after_the_cut(&content, &log, kept)).unwrap();
                        let mount = lab.mount(filesystem, "").unwrap();
                        let store = open(mount.path(), engine);
                        let a = store.get("a").unwrap();
                        let may = match &put {
                            Ok(_) => a == new(len),
                            Err(error) if may_have_happened(error) => a == OLD || a == new(len),
                            Err(_) => a == OLD,
                        };
                        assert!(may, "{at}, {put:?}: {} bytes", a.len());
                        assert_eq!([store.get("b").unwrap(), store.get("d/c").unwrap()], [OLD, OLD], "{at}");
                        drop(store);
                        mount.unmount().unwrap();
                    }
                    if !was_met {
                        break;
                    }
                }
                assert!(failed >= 2, "{filesystem} {engine:?}: the faults met nothing ({failed})");
            }
        });
    });
}

/// A disk after a power cut: with everything written since the last flush, or with none of it.
fn after_the_cut(base: &Chunks, log: &[Record], kept: bool) -> Chunks {
    let mut content = base.clone();
    let last = windows(log).pop().map_or(0..0, |window| window.writes);
    let end = if kept { last.end } else { last.start };
    log[..end].iter().for_each(|record| record.apply(&mut content));
    content
}

/// On an overlayfs mounted with `volatile`, acknowledged changes are lost: every sync returns 0 and does nothing.
#[test]
fn nothing_survives_on_a_volatile_overlay() {
    with_lab("nothing_survives_on_a_volatile_overlay", |lab| {
        lab.make(Filesystem::Ext4).unwrap();
        let ext4 = lab.mount(Filesystem::Ext4, "").unwrap();
        for dir in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(ext4.path().join(dir)).unwrap();
        }
        let root = ext4.path().display();
        let merged = ext4.path().join("merged");
        for (key, volatile, survives) in [("safe", "", true), ("lost", ",volatile", false)] {
            let options = format!("lowerdir={root}/lower,upperdir={root}/upper,workdir={root}/work{volatile}");
            mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str())).unwrap();
            nix::unistd::syncfs(std::fs::File::open(ext4.path()).unwrap()).unwrap();
            let base = lab.disk().content();
            lab.disk().record();
            let store = open(&merged, Engine::Portable);
            store.put(key, new(100)).unwrap();
            let cut = after_the_cut(&base, &lab.disk().recorded(), false);
            drop(store);
            umount2(&merged, MntFlags::empty()).unwrap();
            assert_eq!(is_on(&cut, key), survives, "{key}");
        }
        ext4.unmount().unwrap();
    });
}

/// Whether a file of that test is on a disk.
fn is_on(cut: &Chunks, key: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    cut.save(&image).unwrap();
    let at = dir.path().join("mnt");
    std::fs::create_dir(&at).unwrap();
    let status = std::process::Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at).status().unwrap();
    assert!(status.success());
    let found = std::fs::read(at.join("upper/store").join(key)).is_ok_and(|bytes| bytes == new(100));
    umount2(&at, MntFlags::empty()).unwrap();
    found
}
