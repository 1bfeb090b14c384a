//! The location of an error.

use std::fmt;
use std::path::{Path, PathBuf};

/// A position in a text, and its file, as far as they are known. A value that is yet to be written has no position.
///
/// Displayed at the start of an error message: `"/data/keys.json", line 14, column 18: `.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    path: Option<PathBuf>,
    position: Option<(usize, usize)>,
}

impl Location {
    /// The file.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The line, from 1.
    pub fn line(&self) -> Option<usize> {
        self.position.map(|(line, _)| line)
    }

    /// The column, from 1, in characters.
    pub fn column(&self) -> Option<usize> {
        self.position.map(|(_, column)| column)
    }

    pub(super) fn set_path(&mut self, path: &Path) {
        self.path = Some(path.to_owned());
    }

    pub(super) fn set_position(&mut self, line: usize, column: usize) {
        self.position = Some((line, column));
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.path {
            write!(f, "{path:?}{}", if self.position.is_some() { ", " } else { ": " })?;
        }
        match self.position {
            Some((line, column)) => write!(f, "line {line}, column {column}: "),
            None => Ok(()),
        }
    }
}
