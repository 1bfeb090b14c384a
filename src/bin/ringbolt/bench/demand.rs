//! What is demanded of the figures, on the command line and by profiles, and what became of it.

use std::fs;

use ringbolt::bench::{Assertion, Profile, Results};

use crate::problem::Problem;

pub(crate) struct Demands(Vec<(Assertion, Option<Profile>)>);

/// What became of a demand.
pub(crate) struct Outcome {
    pub(crate) holds: bool,
    /// The demand, and who makes it.
    pub(crate) demand: String,
    pub(crate) found: String,
    /// Where it is made, and in which words.
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

    pub(crate) fn check(&self, results: &Results) -> Vec<Outcome> {
        let check = |(assertion, profile): &(Assertion, Option<Profile>)| {
            let asserted = assertion.check(results);
            let demand = match profile {
                Some(profile) => format!("{}: {assertion}", profile.name),
                None => assertion.to_string(),
            };
            let source = profile.as_ref().map(|profile| (profile.source.clone(), profile.quote.clone()));
            Outcome { holds: asserted.holds, demand, found: asserted.found, source }
        };
        self.0.iter().map(check).collect()
    }
}

/// One that is built in, or from a file.
fn profile(name: &str) -> Result<Profile, Problem> {
    if let Some(profile) = Profile::built_in(name) {
        return Ok(profile);
    }
    let names: Vec<_> = Profile::names().collect();
    let json = fs::read(name).map_err(|error| {
        let names = names.join(" and ");
        Problem::Usage(format!("there is no profile {name:?}: {names} are built in, and as a file: {error}"))
    })?;
    Profile::from_json(&json).map_err(|error| Problem::Usage(format!("{name:?} is no profile: {error}")))
}
