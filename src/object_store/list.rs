//! Listing objects.

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

/// How many objects are looked at before the thread is given back.
const AT_ONCE: usize = 256;

/// The objects beneath a prefix, behind an offset, in the order of their paths.
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

/// The key of a directory, with its slash; "" for the root.
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

/// The next objects; and the rest, if there may be more.
fn page(mut entries: Entries) -> Result<(Vec<ObjectMeta>, Option<Entries>)> {
    let mut page = Vec::new();
    while page.len() < AT_ONCE {
        let Some(entry) = entries.next() else { return Ok((page, None)) };
        page.extend(object(&entry.map_err(fail)?));
    }
    Ok((page, Some(entries)))
}

/// Objects and prefixes directly beneath a prefix.
pub(super) fn list_with_delimiter(reader: &Reader, prefix: Option<&Path>) -> Result<ListResult> {
    let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new(), extensions: Default::default() };
    // An empty directory is nothing to this trait.
    for listed in reader.list(directory(prefix)).map_err(fail)?.one_level() {
        match listed.map_err(fail)? {
            Listed::Dir(dir) => result.common_prefixes.extend(location(&dir)),
            Listed::Key(entry) => result.objects.extend(object(&entry)),
        }
    }
    // A prefix here has no slash, and so another place in the order.
    result.common_prefixes.sort_unstable();
    Ok(result)
}

fn fail(error: crate::Error) -> ::object_store::Error {
    explain(error, &Path::default())
}

fn object(entry: &Entry) -> Option<ObjectMeta> {
    location(&entry.key).map(|location| meta(&entry.metadata, location))
}

/// The path of a key; none if nobody could have put it by this trait (a control character, say).
fn location(key: &str) -> Option<Path> {
    Path::parse(key).ok().filter(|path| path.as_ref() == key)
}
