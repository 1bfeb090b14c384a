//! One suite for every engine, on real files.

#[cfg(feature = "cli")]
mod cli;
mod crowd;
#[cfg(target_os = "linux")]
mod devices;
mod help;
mod keys;
#[cfg(target_os = "linux")]
mod refusals;
mod single;
mod store;
#[cfg(target_os = "linux")]
mod syscalls;
mod tidy;
#[cfg(feature = "tracing")]
mod traced;
