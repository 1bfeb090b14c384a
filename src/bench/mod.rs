//! What a durable write costs in a directory.

mod results;

pub use results::{Method, NotMeasured, Results, SCHEMA, Series};
