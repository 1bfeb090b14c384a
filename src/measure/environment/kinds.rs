//! Kinds of filesystems, by the names that the kernel has for them.

/// What a filesystem is called of which nothing is known.
pub(super) const UNKNOWN: &str = "unknown";

/// Those on which power cuts were tried.
pub(super) fn is_tried(kind: &str) -> bool {
    ["ext4", "xfs", "btrfs"].contains(&kind)
}

/// Those of which the driver is that of ext4.
pub(super) fn is_ext(kind: &str) -> bool {
    ["ext2", "ext3", "ext4"].contains(&kind)
}

/// Those that are kept in memory, or made up by the kernel.
pub(super) fn is_in_memory(kind: &str) -> bool {
    const KINDS: [&str; 17] = [
        "tmpfs",
        "ramfs",
        "rootfs",
        "devtmpfs",
        "hugetlbfs",
        "proc",
        "sysfs",
        "cgroup",
        "cgroup2",
        "devpts",
        "debugfs",
        "tracefs",
        "securityfs",
        "configfs",
        "bpf",
        "mqueue",
        "binfmt_misc",
    ];
    KINDS.contains(&kind)
}

/// Whether an overlayfs syncs nothing. The option is shown as `fsync=volatile` by kernels that know more than that one way.
pub(super) fn is_volatile_overlay(kind: &str, options: &[String]) -> bool {
    kind == "overlay" && options.iter().any(|option| ["volatile", "fsync=volatile"].contains(&&**option))
}

/// Those of which the files are on another machine, or on the host of a virtual one.
#[cfg(target_os = "linux")]
pub(super) fn is_network(kind: &str) -> bool {
    const KINDS: [&str; 18] = [
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "ceph",
        "afs",
        "coda",
        "lustre",
        "beegfs",
        "glusterfs",
        "orangefs",
        "virtiofs",
        "vboxsf",
        "vmhgfs",
        "gpfs",
    ];
    const FUSE: [&str; 12] = [
        "sshfs",
        "glusterfs",
        "ceph",
        "ceph-fuse",
        "s3fs",
        "rclone",
        "gcsfuse",
        "davfs",
        "curlftpfs",
        "juicefs",
        "goofys",
        "vmhgfs-fuse",
    ];
    KINDS.contains(&kind) || fuse_subtype(kind).is_some_and(|name| FUSE.contains(&name))
}

/// Those that a process serves.
#[cfg(target_os = "linux")]
pub(super) fn is_fuse(kind: &str) -> bool {
    ["fuse", "fuseblk"].contains(&kind) || fuse_subtype(kind).is_some()
}

#[cfg(target_os = "linux")]
fn fuse_subtype(kind: &str) -> Option<&str> {
    kind.strip_prefix("fuse.").or_else(|| kind.strip_prefix("fuseblk."))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        for (kind, memory, network, fuse) in [
            ("ext4", false, false, false),
            ("tmpfs", true, false, false),
            ("proc", true, false, false),
            ("nfs4", false, true, false),
            ("9p", false, true, false),
            ("virtiofs", false, true, false),
            ("fuse.sshfs", false, true, true),
            ("fuse.glusterfs", false, true, true),
            ("fuseblk", false, false, true),
            ("fuse.bindfs", false, false, true),
            ("fusectl", false, false, false),
            ("overlay", false, false, false),
        ] {
            assert_eq!((is_in_memory(kind), is_network(kind), is_fuse(kind)), (memory, network, fuse), "{kind}");
        }
    }
}
