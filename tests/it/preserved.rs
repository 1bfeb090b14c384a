//! `preserve` and `follow_symlink`: what a write keeps of the old file, and writes through symbolic links.

use std::ffi::CStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use ringbolt::{Engine, WriteOptions};
use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

use crate::help::*;

const NOTE: &CStr = c"user.note";

fn preserving(engine: Engine) -> WriteOptions {
    WriteOptions::new().engine(engine).preserve(true)
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::metadata(path).unwrap();
    (found.uid(), found.gid())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn set(path: &Path, name: &CStr, value: &[u8]) -> rustix::io::Result<()> {
    fsetxattr(fs::File::open(path).unwrap(), name, value, XattrFlags::empty())
}

fn get(path: &Path, name: &CStr) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let len = fgetxattr(fs::File::open(path).unwrap(), name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

/// Writes in one call, or in pieces.
fn each_config(test: impl Fn(&dyn Fn(&WriteOptions, &Path) -> ringbolt::Result<()>, Engine, &Path)) {
    let streamed = |options: &WriteOptions, path: &Path| {
        let mut file = options.create(path)?;
        file.write_all(b"new").unwrap();
        Ok(file.commit()?)
    };
    for engine in engines() {
        test(&|options, path| options.write(path, "new"), engine, dir().path());
        test(&streamed, engine, dir().path());
    }
}

#[test]
fn mode_and_attributes_are_kept() {
    each_config(|write, engine, dir| {
        let path = dir.join("f");
        let options = preserving(engine);
        // Without an old file, the defaults apply.
        write(&options, &path).unwrap();
        assert_eq!(mode(&path), 0o600);
        for old in [0o644, 0o400, 0o6755] {
            set_mode(&path, 0o600);
            set(&path, NOTE, b"kept").unwrap();
            set_mode(&path, old);
            write(&options, &path).unwrap();
            assert_eq!((mode(&path), get(&path, NOTE).as_deref()), (old, Some(&b"kept"[..])));
        }
        write(&options.clone().mode(0o640), &path).unwrap();
        assert_eq!((mode(&path), get(&path, NOTE).as_deref()), (0o640, Some(&b"kept"[..])));
        // Only with the option.
        write(&WriteOptions::new().engine(engine), &path).unwrap();
        assert_eq!((mode(&path), get(&path, NOTE)), (0o600, None));
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(temporaries(dir).is_empty());
    });
}

#[test]
fn the_owner_is_kept_by_who_may_keep_it() {
    if !nix::unistd::geteuid().is_root() {
        return skip("files of another user", "needs root");
    }
    each_config(|write, engine, dir| {
        let path = dir.join("f");
        fs::write(&path, "old").unwrap();
        chown(&path, Some(12), Some(34)).unwrap();
        set_mode(&path, 0o6750);
        write(&preserving(engine), &path).unwrap();
        // A change of owner and a write clear set-id bits, so the mode must be set after both.
        assert_eq!((owner(&path), mode(&path)), ((12, 34), 0o6750));
    });
}

/// A process that may not change owners gets an error, and nothing is changed. The owner of the file keeps its group,
/// if he is a member of it.
#[cfg(target_os = "linux")]
#[test]
fn a_file_never_gets_another_owner_silently() {
    use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

    if !nix::unistd::geteuid().is_root() {
        return skip("files of another user, without root", "needs root");
    }
    let at = tempfile::tempdir().unwrap();
    let dir = at.path();
    set_mode(dir, 0o777);
    let files = ["theirs", "group", "stranger"].map(|name| dir.join(name));
    let [theirs, group, stranger] = &files;
    for (path, uid, gid) in [(theirs, 12, 34), (group, 56, 78), (stranger, 56, 90)] {
        fs::write(path, "old").unwrap();
        chown(path, Some(uid), Some(gid)).unwrap();
        set_mode(path, 0o2664);
    }
    // These apply to this thread only.
    let as_another = || {
        let (uid, gid) = (Uid::from_raw(56), Gid::from_raw(56));
        set_thread_groups(&[Gid::from_raw(78)]).unwrap();
        set_thread_res_gid(gid, gid, gid).unwrap();
        set_thread_res_uid(uid, uid, uid).unwrap();
        let options = preserving(Engine::Portable);
        for path in [theirs, stranger] {
            let error = unchanged(options.write(path, "new"), dir);
            assert!(error.is_permission_denied() && error.step() == ringbolt::Step::SetOwner, "{error}");
            assert_eq!(fs::read(path).unwrap(), b"old");
        }
        options.write(group, "new").unwrap();
        assert_eq!((owner(group), mode(group), fs::read(group).unwrap()), ((56, 78), 0o2664, b"new".to_vec()));
    };
    std::thread::scope(|scope| scope.spawn(as_another).join()).unwrap();
}

/// The new file has the access control list of the old one. If that had none, the directory's default list is not
/// applied.
#[cfg(target_os = "linux")]
#[test]
fn an_access_control_list_is_kept_and_none_is_made() {
    const LIST: &CStr = c"system.posix_acl_access";
    // acl(5), as in linux/posix_acl_xattr.h: owner rw, user 56 as it is given, group r, mask rw, others nothing.
    let list = |rights: u16| {
        let entries = [(1, 6, u32::MAX), (2, rights, 56), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 0, u32::MAX)];
        let entry = |(tag, rights, id): (u16, u16, u32)| {
            [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        [&2_u32.to_le_bytes()[..], &entries.map(entry).concat()].concat()
    };
    each_config(|write, engine, dir| {
        let (with, without) = (dir.join("with"), dir.join("without"));
        for path in [&with, &without] {
            fs::write(path, "old").unwrap();
            set_mode(path, 0o640);
        }
        if let Err(errno) = set(&with, LIST, &list(4)) {
            return skip("access control lists", errno);
        }
        set(dir, c"system.posix_acl_default", &list(6)).unwrap();
        for path in [&with, &without] {
            write(&preserving(engine), path).unwrap();
        }
        assert_eq!((get(&with, LIST), mode(&with)), (Some(list(4)), 0o660));
        assert_eq!((get(&without, LIST), mode(&without)), (None, 0o640));
        // The default list, which the directory gives to new files.
        fs::write(dir.join("plain"), "").unwrap();
        assert!(get(&dir.join("plain"), LIST).is_some());
    });
}

/// Writes and changes of owner clear capabilities, so they must be set afterwards.
#[cfg(target_os = "linux")]
#[test]
fn a_capability_is_kept_by_who_may_set_it() {
    const CAPABILITY: &CStr = c"security.capability";
    each_config(|write, engine, dir| {
        let path = dir.join("f");
        fs::write(&path, "old").unwrap();
        // So that the new file needs a change of owner, too.
        if let Err(error) = chown(&path, Some(12), None) {
            return skip("capabilities of files", error);
        }
        // VFS_CAP_REVISION_2, cap_net_bind_service.
        let value = [[0, 0, 0, 2], [0, 4, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
        if let Err(errno) = set(&path, CAPABILITY, &value) {
            return skip("capabilities of files", errno);
        }
        write(&preserving(engine), &path).unwrap();
        assert_eq!(get(&path, CAPABILITY), Some(value));
    });
}

#[test]
fn a_link_is_followed_if_it_is_asked_for() {
    each_config(|write, engine, dir| {
        let options = preserving(engine).follow_symlink(true);
        let (real, other) = (dir.join("real"), dir.join("other"));
        fs::create_dir(&real).unwrap();
        fs::create_dir(&other).unwrap();
        let target = real.join("f");
        symlink("../other/middle", real.join("first")).unwrap();
        symlink(real.join("last"), other.join("middle")).unwrap();
        symlink("f", real.join("last")).unwrap();
        let links = [real.join("last"), other.join("middle"), real.join("first")];
        // A dangling link: the write creates its target.
        write(&options, &links[2]).unwrap();
        assert_eq!((fs::read(&target).unwrap(), mode(&target)), (b"new".to_vec(), 0o600));
        for link in &links {
            fs::write(&target, "old").unwrap();
            set_mode(&target, 0o644);
            write(&options, link).unwrap();
            assert_eq!((fs::read(&target).unwrap(), mode(&target)), (b"new".to_vec(), 0o644));
            assert!(links.iter().all(|link| link.is_symlink()));
        }
        let error = unchanged(write(&options.clone().create_new(true), &links[1]), dir);
        assert!(error.is_already_exists(), "{error}");
        // The temporary file is next to the target.
        let file = options.create(&links[1]).unwrap();
        assert_eq!((temporaries(&real).len(), temporaries(&other).len()), (1, 0));
        file.discard().unwrap();
        // Without a link, it is an ordinary write.
        write(&options, &target).unwrap();
        assert!(target.is_file() && !target.is_symlink());
    });
}

#[test]
fn what_is_no_regular_file_is_refused() {
    each_config(|write, engine, dir| {
        let (follow, preserve) = (WriteOptions::new().engine(engine).follow_symlink(true), preserving(engine));
        let at = |name: &str| dir.join(name);
        fs::create_dir(at("d")).unwrap();
        mkfifo(&at("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
        for (target, link) in [("d", "to-d"), ("d/", "to-d-slash"), (".", "to-dot"), ("fifo", "to-fifo")] {
            symlink(target, at(link)).unwrap();
        }
        symlink("loop-b", at("loop-a")).unwrap();
        symlink("loop-a", at("loop-b")).unwrap();
        symlink("nowhere/f", at("dangling")).unwrap();
        symlink(".ringbolt-x", at("reserved")).unwrap();
        for options in [&follow, &preserve] {
            assert!(unchanged(write(options, &at("d")), dir).is_a_directory());
            assert!(unchanged(write(options, &at("fifo")), dir).is_not_a_file());
        }
        for link in ["to-d", "to-d-slash", "to-dot"] {
            let error = unchanged(write(&follow, &at(link)), dir);
            assert!(error.is_a_directory(), "{link}: {error}");
        }
        assert!(unchanged(write(&follow, &at("to-fifo")), dir).is_not_a_file());
        assert!(unchanged(write(&follow, &at("loop-a")), dir).is_symlink());
        assert!(unchanged(write(&follow, &at("dangling")), dir).is_not_found());
        assert!(unchanged(write(&follow, &at("reserved")), dir).is_invalid_key());
        assert!(unchanged(write(&preserve, &at("to-d")), dir).is_symlink());
        assert_eq!(fs::read_dir(dir).unwrap().count(), 10);
        assert_eq!(mode(&at("fifo")), 0o600);
    });
}

/// As the kernel does with `fs.protected_symlinks`.
#[test]
fn a_strangers_link_in_a_shared_directory_is_not_followed() {
    if !nix::unistd::geteuid().is_root() {
        return skip("links of another user", "needs root");
    }
    each_config(|write, engine, dir| {
        let follow = WriteOptions::new().engine(engine).follow_symlink(true);
        let (shared, target, link) = (dir.join("shared"), dir.join("target"), dir.join("shared/link"));
        fs::create_dir(&shared).unwrap();
        fs::write(&target, "old").unwrap();
        symlink(&target, &link).unwrap();
        chown(&shared, Some(12), None).unwrap();
        set_mode(&shared, 0o1777);
        let own = |uid| std::os::unix::fs::lchown(&link, Some(uid), None).unwrap();
        own(56);
        let error = unchanged(write(&follow, &link), dir);
        assert!(error.is_permission_denied() && error.path() == link, "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"old");
        for uid in [0, 12] {
            own(uid);
            write(&follow, &link).unwrap();
        }
        set_mode(&shared, 0o777);
        own(56);
        write(&follow, &link).unwrap();
    });
}
