//! A read-only store.

use std::fmt;
use std::ops::Range;
use std::path::Path as FsPath;

use ::object_store::path::Path;
use ::object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::blocking::blocking;
use super::error::read_only;
use super::{get, list};
use crate::Reader;

/// A [`Reader`] as an [`ObjectStore`]. It takes no lock, so it can read a directory while another process writes it. A
/// clone reads the same directory.
///
/// Every change fails with [`NotSupported`](::object_store::Error::NotSupported).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// use object_store::ObjectStoreExt;
/// use ringbolt::object_store::RingboltReader;
///
/// ringbolt::Store::create(dir.path())?.put("a/b", "content")?;
/// let reader = RingboltReader::open(dir.path())?;
/// assert_eq!(reader.get(&"a/b".into()).await?.bytes().await?, "content");
/// let refused = reader.put(&"a/b".into(), "new".into()).await;
/// assert!(matches!(refused, Err(object_store::Error::NotSupported { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RingboltReader {
    reader: Reader,
}

impl RingboltReader {
    /// Opens a directory for reading.
    ///
    /// # Errors
    ///
    /// As [`Reader::open`].
    pub fn open(path: impl AsRef<FsPath>) -> crate::Result<RingboltReader> {
        Reader::open(path).map(RingboltReader::from)
    }

    /// The underlying reader.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }
}

impl From<Reader> for RingboltReader {
    fn from(reader: Reader) -> RingboltReader {
        RingboltReader { reader }
    }
}

impl fmt::Display for RingboltReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingboltReader({})", self.reader.path().display())
    }
}

#[async_trait]
impl ObjectStore for RingboltReader {
    async fn put_opts(&self, location: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only(&format!("put of {location}")))
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only(&format!("upload of {location}")))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (reader, location) = (self.reader.clone(), location.clone());
        blocking(move || get::get(&reader, &location, &options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (reader, location, ranges) = (self.reader.clone(), location.clone(), ranges.to_vec());
        blocking(move || get::get_ranges(&reader, &location, &ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let refuse = |location: Result<Path>| Err(read_only(&format!("delete of {}", location?)));
        locations.map(refuse).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        list::list(self.reader.clone(), prefix, None)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        list::list(self.reader.clone(), prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (reader, prefix) = (self.reader.clone(), prefix.cloned());
        blocking(move || list::list_with_delimiter(&reader, prefix.as_ref())).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only(&format!("copy of {from} to {to}")))
    }

    async fn rename_opts(&self, from: &Path, to: &Path, _: RenameOptions) -> Result<()> {
        Err(read_only(&format!("rename of {from} to {to}")))
    }
}
