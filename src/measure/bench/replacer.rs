//! Single replaces for a benchmark with a clock and a harness of its own.

use std::ffi::CStr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::{Engine, EngineInfo, Payload, select};
use crate::error::Result;
use crate::file::{Content, Writer};
use crate::fs::{Dir, Maker};
use crate::protocol::{Medium, PutOptions};

const TARGET: &CStr = c"target";

/// Replaces one file of a directory again and again, through an engine that is kept.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let replacer = ringbolt::bench::Replacer::new(dir.path(), ringbolt::Engine::Auto, vec![7; 4096])?;
/// println!("a durable replace takes {:?}", replacer.replace()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Replacer {
    writer: Writer,
    dir: Arc<Dir>,
    content: Content,
}

impl Replacer {
    /// Prepares to replace the file `target` in the directory.
    ///
    /// # Errors
    ///
    /// The directory cannot be opened, or the engine cannot be started.
    pub fn new(dir: impl AsRef<Path>, engine: Engine, bytes: impl Into<Payload>) -> Result<Replacer> {
        let dir = Arc::new(Dir::open(dir.as_ref())?);
        let (bytes, options) = (bytes.into(), PutOptions::new());
        let content = Content { bytes, options, stamp: None, medium: Medium::FSYNC };
        Ok(Replacer { writer: Writer::new(select(engine)?, Maker::Single), dir, content })
    }

    /// Which engine runs, and why.
    pub fn engine(&self) -> &EngineInfo {
        self.writer.engine.info()
    }

    /// Durably replaces the file. Returns how long that took.
    ///
    /// # Errors
    ///
    /// As [`WriteOptions::write`](crate::WriteOptions::write).
    pub fn replace(&self) -> Result<Duration> {
        let begin = Instant::now();
        self.writer.put(&self.dir, TARGET, &self.content)?;
        Ok(begin.elapsed())
    }
}
