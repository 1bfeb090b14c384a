//! `ringbolt rm`.

use std::process::ExitCode;

use crate::args::{IfMissing, RmArgs};
use crate::problem::{self, Problem};
use crate::put;

pub(crate) fn run(args: &RmArgs) -> Result<ExitCode, Problem> {
    for key in &args.keys {
        put::check(key)?;
    }
    if args.if_version.is_some() && args.keys.len() > 1 {
        return Err(Problem::Usage("--if-version takes one key, because no two keys have the same version".into()));
    }
    let store = args.writing.open("rm", &args.dir, IfMissing::Fail)?;
    let mut batch = store.batch();
    for key in &args.keys {
        match args.if_version {
            Some(version) => batch.delete_if(key, version),
            None => batch.delete(key),
        };
    }
    let mut status = ExitCode::SUCCESS;
    for (key, result) in args.keys.iter().zip(batch.commit().into_results()) {
        if let Err(error) = result {
            problem::report(&Problem::write("rm", key)(error));
            status = ExitCode::FAILURE;
        }
    }
    args.writing.report(&store.stats());
    Ok(status)
}
