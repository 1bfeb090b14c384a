//! The contents and places of files in the model.

use std::fmt;

use super::disk::DirId;
use crate::protocol::Version;

/// The maximum length of a file in bytes. Each byte stands for a block that can be lost by itself.
pub(super) const BLOCKS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Name {
    Key(u8),
    /// A temporary file of a store.
    Temp(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) dir: DirId,
    pub(super) name: Name,
}

impl Place {
    pub(super) fn key(dir: DirId, key: u8) -> Place {
        Place { dir, name: Name::Key(key) }
    }

    pub(super) fn is_temp(self) -> bool {
        matches!(self.name, Name::Temp(_))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Name::Key(key) => write!(f, "d{}/k{key}", self.dir),
            Name::Temp(temp) => write!(f, "d{}/temp{temp}", self.dir),
        }
    }
}

/// The content and attributes of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Content {
    pub(super) bytes: [u8; BLOCKS],
    pub(super) len: u8,
    pub(super) version: Option<Version>,
    pub(super) mode: u32,
    /// Owner and attributes, if they were copied from another file.
    pub(super) owner: Option<u32>,
    pub(super) attributes: bool,
}

impl Content {
    /// The content that stands for the directory [`INNER`].
    pub(super) const DIRECTORY: Content = Content { mode: 0o40_755, ..Content::EMPTY };

    pub(super) fn is_directory(self) -> bool {
        self == Content::DIRECTORY
    }

    pub(super) const EMPTY: Content =
        Content { bytes: [0; BLOCKS], len: 0, version: None, mode: 0o600, owner: None, attributes: false };

    pub(super) fn of(bytes: &[u8]) -> Content {
        let mut content = Content::EMPTY;
        content.bytes[..bytes.len()].copy_from_slice(bytes);
        content.len = u8::try_from(bytes.len()).expect("a few bytes");
        content
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.bytes[..usize::from(self.len)].escape_ascii())?;
        if self.mode != Content::EMPTY.mode {
            write!(f, " mode {:o}", self.mode)?;
        }
        self.version.map_or(Ok(()), |version| write!(f, " version {version}"))
    }
}
