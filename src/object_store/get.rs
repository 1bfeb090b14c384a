//! Reads objects.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use ::object_store::path::Path;
use ::object_store::{Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, Result};
use bytes::Bytes;
use futures_util::StreamExt;

use super::attributes;
use super::error::{STORE, explain_source, of_io, precondition};
use crate::Metadata;
use crate::Reader;
use crate::Version;

/// Opens an object. Reads return one consistent content, even if the object is replaced meanwhile.
pub(super) fn get(reader: &Reader, location: &Path, options: &GetOptions) -> Result<GetResult> {
    if options.version.is_some() {
        return Err(precondition(location, "older versions are not kept, so a get cannot name one"));
    }
    let (file, meta) = open(reader, location)?;
    options.check_preconditions(&meta)?;
    let range = match &options.range {
        Some(range) => within(range, meta.size)?,
        None => 0..meta.size,
    };
    let attributes = attributes::read(&file, location)?;
    let payload = match options.head {
        true => GetResultPayload::Stream(futures_util::stream::empty().boxed()),
        false => GetResultPayload::File(file, reader.path().join(location.as_ref())),
    };
    Ok(GetResult { payload, meta, range, attributes, extensions: Default::default() })
}

/// Reads ranges of an object, all from the same content. Ranges are cut off at its end.
pub(super) fn get_ranges(reader: &Reader, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
    let (file, meta) = open(reader, location)?;
    let read = |range: &Range<u64>| {
        let range = within(&GetRange::Bounded(range.clone()), meta.size)?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut bytes, range.start).map_err(|error| of_io(error, location))?;
        Ok(Bytes::from(bytes))
    };
    ranges.iter().map(read).collect()
}

/// Opens a file, and returns it with its version.
pub(super) fn open_version(reader: &Reader, location: &Path) -> Result<(File, Option<Version>)> {
    let (file, found) = reader.open_file(location.as_ref()).map_err(|error| explain_source(error, location))?;
    Ok((file, found.version))
}

fn open(reader: &Reader, location: &Path) -> Result<(File, ObjectMeta)> {
    let (file, found) = reader.open_file(location.as_ref()).map_err(|error| explain_source(error, location))?;
    Ok((file, meta(&found, location.clone())))
}

fn within(range: &GetRange, size: u64) -> Result<Range<u64>> {
    range.as_range(size).map_err(|error| Error::Generic { store: STORE, source: Box::new(error) })
}

/// The metadata of an object.
pub(super) fn meta(found: &Metadata, location: Path) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: found.modified.into(),
        size: found.len,
        e_tag: found.version.map(|version| version.to_string()),
        version: None,
    }
}
