//! `ringbolt rm`.

use ringbolt::Store;

use crate::args::RmArgs;
use crate::problem::{self, Problem};

pub(crate) fn run(args: &RmArgs) -> Result<(), Problem> {
    let store = Store::builder(&args.dir).engine(args.writing.engine()).open()?;
    if args.writing.verbose {
        problem::tell(&format_args!("engine {}", store.engine()));
    }
    for key in &args.keys {
        store.delete(key).map_err(Problem::write("rm", key))?;
    }
    Ok(())
}
