//! Lists objects.

use ::object_store::path::Path;
use ::object_store::{ListResult, ObjectMeta, Result};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::blocking::blocking;
use super::error::explain;
use super::get::meta;
use crate::Entries;
use crate::Entry;
use crate::ListOptions;
use crate::Reader;
use crate::store::Listed;

/// How many objects are listed per call on a blocking thread.
const PAGE_SIZE: usize = 256;

/// Lists the objects below a prefix and after an offset, in path order.
pub(super) fn list(
    reader: Reader,
    prefix: Option<&Path>,
    offset: Option<&Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let mut options = ListOptions::new().prefix(directory(prefix));
    if let Some(offset) = offset {
        options = options.start_after(offset.as_ref());
    }
    let walk = move || reader.list_with(options).map(|list| list.with_metadata()).map_err(fail);
    let walked = stream::once(blocking(walk)).and_then(|entries| async { Ok(pages(entries)) });
    walked.try_flatten().boxed()
}

/// The key prefix of a directory, with a trailing slash; empty for the root.
fn directory(prefix: Option<&Path>) -> String {
    match prefix.map(Path::as_ref) {
        None | Some("") => String::new(),
        Some(prefix) => format!("{prefix}/"),
    }
}

fn pages(entries: Entries) -> impl stream::Stream<Item = Result<ObjectMeta>> {
    let pages = stream::try_unfold(Some(entries), |entries| async {
        let Some(entries) = entries else { return Ok(None) };
        blocking(move || page(entries)).await.map(Some)
    });
    pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten()
}

/// Reads the next objects. Also returns the iterator, unless it is exhausted.
fn page(mut entries: Entries) -> Result<(Vec<ObjectMeta>, Option<Entries>)> {
    let mut page = Vec::new();
    while page.len() < PAGE_SIZE {
        let Some(entry) = entries.next() else { return Ok((page, None)) };
        page.extend(object(&entry.map_err(fail)?));
    }
    Ok((page, Some(entries)))
}

/// Lists the objects and prefixes directly below a prefix.
pub(super) fn list_with_delimiter(reader: &Reader, prefix: Option<&Path>) -> Result<ListResult> {
    let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new(), extensions: Default::default() };
    // Skip empty directories: to this trait they do not exist.
    for listed in reader.list(directory(prefix)).map_err(fail)?.one_level() {
        match listed.map_err(fail)? {
            Listed::Dir(dir) => result.common_prefixes.extend(location(&dir)),
            Listed::Key(entry) => result.objects.extend(object(&entry)),
        }
    }
    // Prefixes have no trailing slash here, which changes their order.
    result.common_prefixes.sort_unstable();
    Ok(result)
}

fn fail(error: crate::Error) -> ::object_store::Error {
    explain(error, &Path::default())
}

fn object(entry: &Entry) -> Option<ObjectMeta> {
    location(&entry.key).map(|location| meta(&entry.metadata, location))
}

/// The path of a key; `None` if this trait cannot express it (for example, a control character).
fn location(key: &str) -> Option<Path> {
    Path::parse(key).ok().filter(|path| path.as_ref() == key)
}
