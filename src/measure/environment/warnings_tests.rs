//! Tests of the warnings.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;

fn said(environment: &Environment) -> String {
    let warnings = warnings::of(environment, None);
    for Warning { what, advice } in &warnings {
        assert!(what.ends_with('.') && advice.ends_with('.'), "{what} {advice}");
    }
    warnings.into_iter().map(|warning| warning.what + "\n").collect()
}

/// An environment without warnings, after applying `change`.
fn on(kind: &str, change: impl FnOnce(&mut Filesystem)) -> Environment {
    let mut environment = Environment { writable: Some(true), ..Environment::default() };
    environment.directory_fsync.works = true;
    environment.filesystem = Filesystem {
        kind: kind.into(),
        mount_point: Some("/data".into()),
        free_bytes: Some(1 << 40),
        total_bytes: Some(1 << 41),
        read_only: Some(false),
        ..Filesystem::default()
    };
    change(&mut environment.filesystem);
    environment
}

#[test]
fn a_good_environment_has_no_warnings() {
    for kind in ["ext4", "xfs", "btrfs", "overlay"] {
        assert_eq!(said(&on(kind, |filesystem| filesystem.journal = Some(true))), "");
    }
}

#[test]
fn each_filesystem_has_its_own_warning() {
    type Change = fn(&mut Filesystem);
    let nothing: Change = |_| ();
    let cases: [(&str, Change, &str); 12] = [
        ("tmpfs", |f| f.volatile = true, "kept in memory"),
        ("overlay", |f| f.options.push("volatile".into()), "`volatile`"),
        ("ext4", |f| f.journal = Some(false), "no journal"),
        ("vfat", |f| f.journal = Some(false), "no journal"),
        ("ext4", |f| f.barriers = Some(false), "without barriers"),
        ("ext4", |f| f.options.push("data=writeback".into()), "data=writeback"),
        ("nfs4", |f| f.network = true, "another machine"),
        ("fuse.bindfs", |f| f.fuse = true, "served by a user-space process"),
        ("f2fs", nothing, "not tested"),
        ("xfs", |f| f.read_only = Some(true), "read-only"),
        ("ext4", |f| f.free_bytes = Some(63 << 20), "63 MiB (0.0%)"),
        ("ext4", |f| (f.free_bytes, f.total_bytes) = (Some(4 << 30), Some(100 << 30)), "4096 MiB (4.0%)"),
    ];
    for (kind, change, words) in cases {
        let said = said(&on(kind, change));
        assert!(said.contains(words), "{kind}: {said}");
        assert!(said.lines().count() <= 2, "{said}");
    }
    // A filesystem without blocks is not full.
    assert!(!said(&on("proc", |f| (f.free_bytes, f.total_bytes) = (Some(0), Some(0)))).contains("full"));
}

#[test]
fn what_is_beneath_counts() {
    let overlay = on("overlay", |f| {
        f.beneath = Some(Box::new(Filesystem { kind: "ext4".into(), journal: Some(false), ..Filesystem::default() }));
    });
    assert!(said(&overlay).contains("Beneath the overlay: this ext4 has no journal"), "{}", said(&overlay));
    let mut on_loop = on("ext4", |_| ());
    on_loop.device.push(Device {
        name: "loop0".into(),
        kind: "loop".into(),
        backing_file: Some("/tmp/image".into()),
        backing_filesystem: Some(Filesystem { kind: "tmpfs".into(), volatile: true, ..Filesystem::default() }),
        ..Device::default()
    });
    let text = said(&on_loop);
    assert!(text.contains("loop0 is a loop device") && text.contains("/tmp/image"), "{text}");
    assert!(text.contains("Beneath loop0: this is tmpfs") && text.contains("nothing survives"), "{text}");
    on_loop.device[0].backing_filesystem = None;
    assert_eq!(said(&on_loop).lines().count(), 1);
    for (kind, words) in [("memory", "nothing survives"), ("network", "another machine"), ("disk", "")] {
        on_loop.device = vec![Device { name: "x0".into(), kind: kind.into(), ..Device::default() }];
        assert!(said(&on_loop).contains(words) && said(&on_loop).is_empty() == words.is_empty());
    }
}

#[test]
fn obstacles_are_reported() {
    assert_eq!(on("ext4", |_| ()).find_obstacle(), None);
    let read_only = on("ext4", |f| f.read_only = Some(true));
    assert!(read_only.find_obstacle().unwrap().contains("read-only"));
    let mut environment = on("ext4", |_| ());
    environment.writable = Some(false);
    assert!(environment.find_obstacle().unwrap().contains("no permission to write"));
    assert!(said(&environment).contains("no permission to write"));
    environment.engine = NO_ENGINE.into();
    environment.engine_reason = "no engine".into();
    assert_eq!(environment.find_obstacle().unwrap(), "no engine");
    environment.directory_fsync = DirectoryFsync { works: false, error: Some("it failed".into()) };
    assert_eq!(environment.find_obstacle().unwrap(), "it failed");
    assert!(said(&environment).contains("it failed"));
    let incomplete = warnings::of(&on("ext4", |_| ()), Some("/sys cannot be read"));
    assert!(incomplete[0].what.contains("/sys cannot be read"));
}

#[test]
fn a_missing_directory_is_reported() {
    let environment = Environment::of("/no/such/directory");
    assert!(environment.find_obstacle().unwrap().contains("cannot open the directory: No such file"));
    assert_eq!(environment.warnings.len(), 1, "{:?}", environment.warnings);
    assert!(environment.barriers.is_empty() && environment.filesystem.free_bytes.is_none());
}

#[test]
fn an_environment_survives_json() {
    let dir = tempfile::tempdir().unwrap();
    let environment = Environment::of(dir.path());
    assert!(environment.directory_fsync.works && environment.find_obstacle().is_none(), "{environment:?}");
    assert!(environment.kernel.contains(' ') && environment.processors > 0);
    assert_eq!(environment.barriers.len() + environment.barriers_refused.len(), 4);
    assert_eq!(environment.filesystem.read_only, Some(false));
    assert_eq!(Environment::of("").filesystem.mount_point, Environment::of(".").filesystem.mount_point);
    let text = serde_json::to_string(&environment).unwrap();
    assert_eq!(serde_json::from_str::<Environment>(&text).unwrap(), environment);
    assert_eq!(environment.directory, dir.path());
}

/// File names need not be UTF-8, but JSON must be.
#[test]
fn a_path_that_is_not_utf_8_is_serialized_lossily() {
    let environment = Environment::of(OsStr::from_bytes(b"/no/\xff"));
    assert!(serde_json::to_string(&environment).unwrap().contains("/no/\u{fffd}"));
}
