//! Profiles: named sets of demands on a disk, with their source.

use serde::Deserialize;

use super::assertion::{Assertion, ParseAssertionError};

/// A published set of demands on a disk, with its source.
///
/// In JSON: `name`, `about`, `source` (an address), `quote` (the original words), `assertions` (a list of strings, see
/// [`Assertion`]).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// The name.
    pub name: String,
    /// The workload it is for.
    pub about: String,
    /// The address of the document that makes the demands.
    pub source: String,
    /// The relevant words of that document.
    pub quote: String,
    /// The demands.
    #[serde(deserialize_with = "assertions")]
    pub assertions: Vec<Assertion>,
}

const BUILT_IN: [(&str, &str); 2] =
    [("etcd", include_str!("profiles/etcd.json")), ("openshift", include_str!("profiles/openshift.json"))];

impl Profile {
    /// The names of the built-in profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The built-in profile with this name.
    pub fn built_in(name: &str) -> Option<Profile> {
        let (_, json) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name)?;
        Some(Profile::from_json(json.as_bytes()).expect("a test parses each"))
    }

    /// Parses a profile.
    ///
    /// # Errors
    ///
    /// The text is not a profile. The error names line and column.
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
