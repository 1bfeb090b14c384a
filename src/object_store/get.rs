//! Reading an object.

use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use ::object_store::path::Path;
use ::object_store::{Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, Result};
use bytes::Bytes;
use futures_util::StreamExt;

use super::attributes;
use super::error::{STORE, explain_source, of_io, precondition};
use crate::{Store, Version};

/// Opens an object: what is read from it is of one content, whatever is put meanwhile.
pub(super) fn get(store: &Store, location: &Path, options: &GetOptions) -> Result<GetResult> {
    if options.version.is_some() {
        return Err(precondition(location, "older versions are not kept, and none has such a name"));
    }
    let (file, meta) = open(store, location)?;
    options.check_preconditions(&meta)?;
    let range = match &options.range {
        Some(range) => within(range, meta.size)?,
        None => 0..meta.size,
    };
    let attributes = attributes::read(&file, location)?;
    let payload = match options.head {
        true => GetResultPayload::Stream(futures_util::stream::empty().boxed()),
        false => payload(file, store, location),
    };
    Ok(GetResult { payload, meta, range, attributes, extensions: Default::default() })
}

/// Some ranges of an object, all of one content; what reaches beyond its end is cut there.
pub(super) fn get_ranges(store: &Store, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
    let (file, meta) = open(store, location)?;
    let read = |range: &Range<u64>| {
        let range = within(&GetRange::Bounded(range.clone()), meta.size)?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start).map_err(|error| of_io(error, location))?;
        Ok(Bytes::from(bytes))
    };
    ranges.iter().map(read).collect()
}

/// A file to read, and which content it is.
pub(super) fn open_version(store: &Store, location: &Path) -> Result<(File, Version)> {
    let file = store.reader().file(location.as_ref()).map_err(|error| explain_source(error, location))?;
    let version = version(&file.metadata().map_err(|error| of_io(error, location))?);
    Ok((file, version))
}

fn version(found: &Metadata) -> Version {
    Version::at(found.mtime(), found.mtime_nsec())
}

fn open(store: &Store, location: &Path) -> Result<(File, ObjectMeta)> {
    let file = store.reader().file(location.as_ref()).map_err(|error| explain_source(error, location))?;
    let meta = meta(&file.metadata().map_err(|error| of_io(error, location))?, location.clone());
    Ok((file, meta))
}

fn within(range: &GetRange, size: u64) -> Result<Range<u64>> {
    range.as_range(size).map_err(|error| Error::Generic { store: STORE, source: Box::new(error) })
}

fn payload(file: File, store: &Store, location: &Path) -> GetResultPayload {
    GetResultPayload::File(file, store.path().join(location.as_ref()))
}

/// What is known of an object.
pub(super) fn meta(found: &Metadata, location: Path) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: found.modified().unwrap_or(std::time::SystemTime::UNIX_EPOCH).into(),
        size: found.len(),
        e_tag: Some(version(found).to_string()),
        version: None,
    }
}
