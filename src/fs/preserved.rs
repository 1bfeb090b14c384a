//! What a new file inherits from the file that it replaces.

use std::ffi::CStr;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::dir::Dir;
use super::regular;
use super::sys;
use crate::error::{Error, Result, Step};
use crate::protocol::{Owner, PutOptions};

/// The owner, mode and extended attributes of a file at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Preserved {
    pub(crate) owner: Owner,
    mode: u32,
    pub(crate) attributes: Arc<sys::Attributes>,
}

impl Preserved {
    /// Reads them from the file `name`, through one descriptor. `None` if there is no such file.
    pub(crate) fn of(dir: &Dir, name: &CStr) -> Result<Option<Preserved>> {
        let path = dir.path_of(name);
        let open = |flags| openat(dir.fd(), name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
        let (file, found) = match regular::open(open, &path) {
            Err(error) if error.is_not_found() => return Ok(None),
            opened => opened?,
        };
        let attributes = sys::attributes(&file).map_err(|errno| Error::from_errno(errno, Step::Read, path))?;
        let owner = Owner { uid: found.uid(), gid: found.gid() };
        Ok(Some(Preserved { owner, mode: found.mode() & 0o7777, attributes: Arc::new(attributes) }))
    }

    /// The options with the mode of the old file, unless they set a mode.
    pub(crate) fn options(&self, options: PutOptions) -> PutOptions {
        PutOptions { mode: options.mode.or(Some(self.mode)), ..options }
    }
}
