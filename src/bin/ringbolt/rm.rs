//! `ringbolt rm`.

use std::process::ExitCode;

use ringbolt::Store;

use crate::args::RmArgs;
use crate::problem::{self, Problem};
use crate::put;

pub(crate) fn run(args: &RmArgs) -> Result<ExitCode, Problem> {
    for key in &args.keys {
        put::check(key)?;
    }
    let dir = args.dir.to_string_lossy();
    let store = Store::builder(&args.dir).engine(args.writing.engine()).open().map_err(Problem::write("rm", &dir))?;
    args.writing.tell(&store);
    let mut status = ExitCode::SUCCESS;
    for key in &args.keys {
        if let Err(error) = store.delete(key) {
            problem::tell(&Problem::write("rm", key)(error));
            status = ExitCode::FAILURE;
        }
    }
    Ok(status)
}
