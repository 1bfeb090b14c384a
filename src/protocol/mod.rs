//! The protocol as data: which system calls a change makes, in which order, and what their results mean.
//!
//! Nothing here does I/O. Of other rooms, it uses plain types only. A [`Plan`] lists the calls of one change; a
//! [`Medium`] says how file contents become durable; a [`Run`] hands the calls to an engine and takes their results; a
//! [`Report`](report::Report) turns the results into a [`Verdict`]. [`schedule()`] orders the phases of many changes that are committed together.
//! Engines interpret plans, and [`crate::commit`] schedules them: neither knows the order of calls by itself.

pub(crate) mod call;
mod medium;
pub(crate) mod options;
pub(crate) mod plan;
mod report;
mod run;
mod schedule;
pub(crate) mod version;

pub(crate) use call::{Call, Condition, Existing, Owner, Phase};
#[cfg(test)]
pub(crate) use call::{WRITE_MAX, stage_is_safe};
pub(crate) use medium::{Medium, Names};
pub(crate) use options::PutOptions;
pub(crate) use plan::{Plan, Replace};
pub(crate) use report::{Fate, Verdict, certainly_not_created, is_ambiguous};
pub(crate) use run::Run;
pub(crate) use schedule::{schedule, shared_calls};
pub(crate) use version::{Clock, Version};

#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod run_tests;
