//! Who demands what of a disk: demands with a name, and where they come from.

use serde::Deserialize;

use super::assertion::{Assertion, ParseAssertionError};

/// What somebody demands of a disk, and where they say so.
///
/// As JSON: `name`, `about`, `source` (an address), `quote` (their words), `assertions` (a list of texts, see [`Assertion`]).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// What kind of work it is for.
    pub about: String,
    /// Where the demands come from.
    pub source: String,
    /// The words in which they are made there.
    pub quote: String,
    /// The demands.
    #[serde(deserialize_with = "assertions")]
    pub assertions: Vec<Assertion>,
}

const BUILT_IN: [(&str, &str); 2] =
    [("etcd", include_str!("profiles/etcd.json")), ("openshift", include_str!("profiles/openshift.json"))];

impl Profile {
    /// The names of those that are built in.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// One of those that are built in.
    pub fn built_in(name: &str) -> Option<Profile> {
        let (_, json) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name)?;
        Some(Profile::from_json(json.as_bytes()).expect("a test reads each"))
    }

    /// One from a file.
    ///
    /// # Errors
    ///
    /// It is not JSON of this shape, in words with line and column.
    pub fn from_json(json: &[u8]) -> Result<Profile, serde_json::Error> {
        serde_json::from_slice(json)
    }
}

fn assertions<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Assertion>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| text.parse().map_err(|error: ParseAssertionError| serde::de::Error::custom(error)))
        .collect()
}
