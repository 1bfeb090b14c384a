//! Stores the attributes of an object in one extended attribute of its file, as JSON, so that any key and value fits.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use ::object_store::path::Path;
use ::object_store::{Attribute, Attributes, Error, Result};
// nix has no extended attributes.
use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};
use rustix::io::Errno;

use super::error::{STORE, of_io};

/// The extended attribute. `user.` is the namespace of applications (xattr(7)).
const NAME: &str = "user.ringbolt.attributes";

/// The prefix of user-defined attributes.
const METADATA: &str = "metadata:";

/// The maximum size on Linux (`XATTR_SIZE_MAX`). On ext4 all extended attributes of a file share one block.
const LARGEST: usize = 65_536;

/// Writes the attributes of a file, if any.
pub(super) fn write(file: &File, attributes: &Attributes, location: &Path) -> Result<()> {
    if attributes.is_empty() {
        return Ok(());
    }
    let mut named = BTreeMap::new();
    for (attribute, value) in attributes {
        named.insert(name(attribute)?, value.as_ref().to_owned());
    }
    let json = serde_json::to_vec(&named).map_err(|error| Error::Generic { store: STORE, source: Box::new(error) })?;
    fsetxattr(file, NAME, &json, XattrFlags::empty()).map_err(|errno| match errno {
        Errno::NOTSUP | Errno::NOSPC | Errno::TOOBIG | Errno::RANGE | Errno::DQUOT => {
            let why = format!("{location}: {} bytes of attributes do not fit on this filesystem: {errno}", json.len());
            Error::NotSupported { source: why.into() }
        }
        errno => of_io(errno.into(), location),
    })
}

/// Reads the attributes of a file; empty if the filesystem does not support them.
pub(super) fn read(file: &File, location: &Path) -> Result<Attributes> {
    let mut json = vec![0; 1024];
    loop {
        match fgetxattr(file, NAME, &mut json[..]) {
            Ok(len) => {
                json.truncate(len);
                break;
            }
            Err(Errno::RANGE) if json.len() < LARGEST => json.resize(LARGEST, 0),
            Err(errno) if is_absent(errno) => return Ok(Attributes::new()),
            Err(errno) => return Err(of_io(errno.into(), location)),
        }
    }
    let named: BTreeMap<String, String> = serde_json::from_slice(&json)
        .map_err(|error| of_io(io::Error::new(io::ErrorKind::InvalidData, format!("{NAME}: {error}")), location))?;
    // Skip attributes that only a later version knows.
    Ok(named.into_iter().filter_map(|(name, value)| Some((attribute(&name)?, value))).collect())
}

fn is_absent(errno: Errno) -> bool {
    #[cfg(target_vendor = "apple")]
    let absent = Errno::NOATTR;
    #[cfg(not(target_vendor = "apple"))]
    let absent = Errno::NODATA;
    errno == absent || errno == Errno::NOTSUP
}

fn name(attribute: &Attribute) -> Result<String> {
    Ok(match attribute {
        Attribute::CacheControl => "cache-control".to_owned(),
        Attribute::ContentDisposition => "content-disposition".to_owned(),
        Attribute::ContentEncoding => "content-encoding".to_owned(),
        Attribute::ContentLanguage => "content-language".to_owned(),
        Attribute::ContentType => "content-type".to_owned(),
        Attribute::StorageClass => "storage-class".to_owned(),
        Attribute::Metadata(key) => format!("{METADATA}{key}"),
        other => return Err(super::error::not_implemented(&format!("the attribute {other:?}"))),
    })
}

fn attribute(name: &str) -> Option<Attribute> {
    Some(match name {
        "cache-control" => Attribute::CacheControl,
        "content-disposition" => Attribute::ContentDisposition,
        "content-encoding" => Attribute::ContentEncoding,
        "content-language" => Attribute::ContentLanguage,
        "content-type" => Attribute::ContentType,
        "storage-class" => Attribute::StorageClass,
        name => Attribute::Metadata(name.strip_prefix(METADATA)?.to_owned().into()),
    })
}
