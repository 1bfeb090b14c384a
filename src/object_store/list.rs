//! Listing objects.

use std::sync::Arc;

use ::object_store::path::Path;
use ::object_store::{Error as TheirError, ListResult, ObjectMeta, Result};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::blocking::blocking;
use super::error::{explain, explain_source};
use super::get::meta;
use crate::{List, Store};

/// How many objects are looked at before the thread is given back.
const AT_ONCE: usize = 256;

/// The objects beneath a prefix, behind an offset, in the order of their paths.
pub(super) fn list(
    store: Arc<Store>,
    prefix: Option<&Path>,
    offset: Option<Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let prefix = directory(prefix);
    let walk = move || {
        let keys = store.list(&prefix).map_err(|error| explain(error, &Path::default()))?;
        Ok(Walk { store, keys, offset })
    };
    let walked = stream::once(blocking(walk)).and_then(|walk| async { Ok(pages(walk)) });
    walked.try_flatten().boxed()
}

/// The key of a directory, with its slash; "" for the root.
fn directory(prefix: Option<&Path>) -> String {
    match prefix.map(Path::as_ref) {
        None | Some("") => String::new(),
        Some(prefix) => format!("{prefix}/"),
    }
}

struct Walk {
    store: Arc<Store>,
    keys: List,
    offset: Option<Path>,
}

fn pages(walk: Walk) -> impl stream::Stream<Item = Result<ObjectMeta>> {
    let pages = stream::try_unfold(Some(walk), |walk| async {
        let Some(walk) = walk else { return Ok(None) };
        blocking(move || walk.page()).await.map(Some)
    });
    pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten()
}

impl Walk {
    /// The next objects; and itself, if there may be more.
    fn page(mut self) -> Result<(Vec<ObjectMeta>, Option<Walk>)> {
        let mut page = Vec::new();
        while page.len() < AT_ONCE {
            let Some(key) = self.keys.next() else { return Ok((page, None)) };
            let key = key.map_err(|error| explain(error, &Path::default()))?;
            if let Some(location) = location(&key)
                && self.offset.as_ref().is_none_or(|offset| location > *offset)
            {
                page.extend(look(&self.store, location)?);
            }
        }
        Ok((page, Some(self)))
    }
}

/// Objects and prefixes directly beneath a prefix.
pub(super) fn list_with_delimiter(store: &Store, prefix: Option<&Path>) -> Result<ListResult> {
    let directory = directory(prefix);
    let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new(), extensions: Default::default() };
    let keys = store.list(&directory).map_err(|error| explain(error, &Path::default()))?;
    // An empty directory is nothing to this trait.
    for key in keys.one_level() {
        let key = key.map_err(|error| explain(error, &Path::default()))?;
        match key.strip_suffix('/') {
            Some(below) => result.common_prefixes.extend(location(below)),
            None => {
                if let Some(location) = location(&key) {
                    result.objects.extend(look(store, location)?);
                }
            }
        }
    }
    // Keys of directories come in the order of what is in them: with a slash behind.
    result.common_prefixes.sort_unstable();
    Ok(result)
}

/// The path of a key; none if nobody could have put it by this trait (a control character, say).
fn location(key: &str) -> Option<Path> {
    Path::parse(key).ok().filter(|path| path.as_ref() == key)
}

/// Nothing if it has gone meanwhile, or is a directory by now.
fn look(store: &Store, location: Path) -> Result<Option<ObjectMeta>> {
    let found = store.reader().file(location.as_ref()).and_then(|file| {
        file.metadata().map_err(|error| crate::Error::from_io(error, crate::Step::Read, store.path()))
    });
    match found {
        Ok(found) => Ok(Some(meta(&found, location))),
        Err(error) => match explain_source(error, &location) {
            TheirError::NotFound { .. } => Ok(None),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_any_more_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path()).unwrap();
        store.put("was-a-file/now", "x").unwrap();
        for gone in ["was-a-file", "was-a-file/then", "was-a-file/now/x"] {
            assert!(look(&store, gone.into()).unwrap().is_none(), "{gone}");
        }
        assert!(look(&store, "was-a-file/now".into()).unwrap().is_some());
    }
}
