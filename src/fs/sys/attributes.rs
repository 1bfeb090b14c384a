//! Extended attributes of open files, on Linux and Apple systems.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
// nix has no extended attributes.
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};

/// Names and values.
pub(crate) type Attributes = Vec<(CString, Vec<u8>)>;

/// Linux's limit for one value, and for all names together (xattr(7)).
const LARGEST: usize = 65_536;

/// The attribute in which Linux keeps an access control list.
const ACL: &CStr = c"system.posix_acl_access";

/// Digests of a file's content and inode. They would be wrong on another file (`attr(1)` does not copy the second either).
const DIGESTS: [&CStr; 2] = [c"security.ima", c"security.evm"];

#[cfg(target_vendor = "apple")]
const ABSENT: Errno = Errno::ENOATTR;
#[cfg(not(target_vendor = "apple"))]
const ABSENT: Errno = Errno::ENODATA;

/// The readable attributes of a file. Empty on a filesystem without extended attributes.
pub(crate) fn attributes(file: impl AsFd) -> nix::Result<Attributes> {
    let file = file.as_fd();
    let names = match read(|buffer| flistxattr(file, buffer)) {
        Err(Errno::ENOTSUP) => return Ok(Attributes::new()),
        names => names?,
    };
    let mut found = Attributes::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if DIGESTS.contains(&name) {
            continue;
        }
        match read(|buffer| fgetxattr(file, name, buffer)) {
            Ok(value) => found.push((name.into(), value)),
            // It was removed after it was listed.
            Err(errno) if errno == ABSENT => {}
            Err(errno) if is_optional(name) && is_refusal(errno) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

/// Sets these attributes on a new file. Removes an access control list that the file inherited from its directory: it could
/// grant access to users whom the old file did not let in.
pub(crate) fn set_attributes(file: impl AsFd, attributes: &Attributes) -> nix::Result<()> {
    let file = file.as_fd();
    if !attributes.iter().any(|(name, _)| name.as_c_str() == ACL) {
        remove_acl(file)?;
    }
    for (name, value) in attributes {
        match fsetxattr(file, name.as_c_str(), value, XattrFlags::empty()).map_err(errno) {
            Err(errno) if is_optional(name) && is_refusal(errno) => {}
            result => result?,
        }
    }
    Ok(())
}

fn remove_acl(file: BorrowedFd<'_>) -> nix::Result<()> {
    match fremovexattr(file, ACL).map_err(errno) {
        Err(errno) if errno == ABSENT || errno == Errno::ENOTSUP => Ok(()),
        // Apple systems have no such attribute.
        Err(Errno::EINVAL | Errno::EPERM) if cfg!(target_vendor = "apple") => Ok(()),
        result => result,
    }
}

/// Whether a file keeps its data and its access rules without this attribute. The system may refuse what belongs to it
/// (labels, capabilities).
fn is_optional(name: &CStr) -> bool {
    !name.to_bytes().starts_with(b"user.") && name != ACL
}

fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::EPERM | Errno::EACCES | Errno::ENOTSUP | Errno::EINVAL)
}

/// Calls `call` with a buffer that is large enough.
fn read(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> nix::Result<Vec<u8>> {
    let mut buffer = vec![0; 1024];
    loop {
        match call(&mut buffer).map_err(errno) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            Err(Errno::ERANGE) if buffer.len() < LARGEST => buffer.resize(LARGEST, 0),
            Err(errno) => return Err(errno),
        }
    }
}

fn errno(errno: rustix::io::Errno) -> Errno {
    Errno::from_raw(errno.raw_os_error())
}
