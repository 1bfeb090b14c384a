//! Multipart uploads: parts are written to a hidden file, which is published when the upload completes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use ::object_store::path::Path;
use ::object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use async_trait::async_trait;
use futures_util::FutureExt;

use super::blocking::blocking;
use super::error::{STORE, explain, of_io};
use super::result;
use crate::StoreFile;
use crate::lock;

/// An upload. Its parts are written in any order, each at its own offset.
#[derive(Debug)]
pub(super) struct Upload {
    location: Path,
    inner: Arc<UploadFile>,
    /// The offset of the next part.
    end: u64,
    parts: u64,
    /// Whether the completion returns an entity tag.
    keeps_versions: bool,
}

#[derive(Debug)]
struct UploadFile {
    /// One descriptor for all parts, which are written concurrently.
    content: File,
    state: Mutex<UploadState>,
}

#[derive(Debug)]
struct UploadState {
    /// `None` after completion or abort.
    file: Option<StoreFile>,
    /// The number of completely written parts.
    written: u64,
    /// Whether a completion returned an error, so that an abort has nothing to do. A completion whose future was
    /// dropped may have succeeded.
    failed: bool,
}

impl Upload {
    pub(super) fn new(file: StoreFile, location: Path, keeps_versions: bool) -> Result<Upload> {
        let content = file.as_file().try_clone().map_err(|error| of_io(error, &location))?;
        let state = Mutex::new(UploadState { file: Some(file), written: 0, failed: false });
        Ok(Upload { location, inner: Arc::new(UploadFile { content, state }), end: 0, parts: 0, keeps_versions })
    }

    fn error(&self, why: String) -> Error {
        Error::Generic { store: STORE, source: format!("{}: {why}", self.location).into() }
    }
}

impl UploadFile {
    fn write(&self, payload: &PutPayload, mut offset: u64, location: &Path) -> Result<()> {
        // If the upload ends during the write, this part counts as missing.
        if lock(&self.state).file.is_none() {
            let why = format!("{location}: cannot write a part, because the upload has ended");
            return Err(Error::Generic { store: STORE, source: why.into() });
        }
        for bytes in payload {
            self.content.write_all_at(bytes, offset).map_err(|error| of_io(error, location))?;
            offset += bytes.len() as u64;
        }
        lock(&self.state).written += 1;
        Ok(())
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (inner, location, offset) = (Arc::clone(&self.inner), self.location.clone(), self.end);
        self.end += data.content_length() as u64;
        self.parts += 1;
        blocking(move || inner.write(&data, offset, &location)).boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (file, written) = {
            let mut state = lock(&self.inner.state);
            (state.file.take(), state.written)
        };
        let file = file.ok_or_else(|| self.error("the upload has ended".to_owned()))?;
        if written != self.parts {
            let missing = self.parts - written;
            blocking(move || {
                drop(file);
                Ok(())
            })
            .await?;
            lock(&self.inner.state).failed = true;
            return Err(self.error(format!("{missing} of {} parts were not written; nothing was changed", self.parts)));
        }
        let location = self.location.clone();
        let committed = blocking(move || file.commit().map_err(|error| explain(error.into(), &location))).await;
        lock(&self.inner.state).failed = committed.is_err();
        committed.map(|version| result(version, self.keeps_versions))
    }

    async fn abort(&mut self) -> Result<()> {
        let (file, failed) = {
            let mut state = lock(&self.inner.state);
            (state.file.take(), state.failed)
        };
        let location = self.location.clone();
        match file {
            Some(file) => blocking(move || file.discard().map_err(|error| explain(error, &location))).await,
            // `WriteMultipart::finish` aborts after a failed completion, and would report the abort's error instead of the cause.
            None if failed => Ok(()),
            None => Err(self.error("the upload has ended".to_owned())),
        }
    }
}
