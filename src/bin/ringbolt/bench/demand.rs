//! Demands on the figures, from `--assert` and `--profile`, and whether they are met.

use std::fs;

use ringbolt::bench::{Assertion, Profile, Results};

use crate::problem::Problem;

pub(crate) struct Demands(Vec<(Assertion, Option<Profile>)>);

/// Whether a demand is met.
pub(crate) struct DemandResult {
    pub(crate) holds: bool,
    /// The demand, with the name of its profile.
    pub(crate) demand: String,
    /// The measured value, or why there is none.
    pub(crate) found: String,
    /// For a profile: the address of its source and a quotation.
    pub(crate) source: Option<(String, String)>,
}

impl Demands {
    pub(crate) fn new(assertions: &[Assertion], profiles: &[String]) -> Result<Demands, Problem> {
        let mut demands: Vec<_> = assertions.iter().map(|assertion| (assertion.clone(), None)).collect();
        for name in profiles {
            let profile = profile(name)?;
            demands.extend(profile.assertions.iter().map(|assertion| (assertion.clone(), Some(profile.clone()))));
        }
        Ok(Demands(demands))
    }

    pub(crate) fn check(&self, results: &Results) -> Vec<DemandResult> {
        let check = |(assertion, profile): &(Assertion, Option<Profile>)| {
            let asserted = assertion.check(results);
            let demand = match profile {
                Some(profile) => format!("{}: {assertion}", profile.name),
                None => assertion.to_string(),
            };
            let source = profile.as_ref().map(|profile| (profile.source.clone(), profile.quote.clone()));
            DemandResult { holds: asserted.holds, demand, found: asserted.found, source }
        };
        self.0.iter().map(check).collect()
    }
}

/// A built-in profile, or one from a file.
fn profile(name: &str) -> Result<Profile, Problem> {
    if let Some(profile) = Profile::built_in(name) {
        return Ok(profile);
    }
    let names: Vec<_> = Profile::names().collect();
    let json = fs::read(name).map_err(|error| {
        let names = names.join(" and ");
        Problem::Usage(format!("no profile {name:?}: {names} are built in, and reading it as a file failed: {error}"))
    })?;
    Profile::from_json(&json).map_err(|error| Problem::Usage(format!("{name:?} is not a profile: {error}")))
}
