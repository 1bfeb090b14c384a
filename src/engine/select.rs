//! Selects the engine to run, and records why.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::durable::DurableWriter;
use super::{Engine, EngineInfo, EngineKind, Interpreter};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::protocol::{Plan, Run};

/// A running engine.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    pub(crate) interpreter: Arc<dyn Interpreter>,
    info: EngineInfo,
    /// A wrong protocol that every plan is rewritten to.
    #[cfg(any(test, ringbolt_mutants))]
    mutant: Option<super::Mutant>,
}

impl Selected {
    fn new(interpreter: Arc<dyn Interpreter>, kind: EngineKind, reason: String) -> Selected {
        Selected {
            interpreter,
            info: EngineInfo { kind, reason },
            #[cfg(any(test, ringbolt_mutants))]
            mutant: super::Mutant::chosen(),
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test(interpreter: Arc<dyn Interpreter>, kind: EngineKind) -> Selected {
        Selected::new(interpreter, kind, "under test".into())
    }

    /// A run of this plan.
    pub(crate) fn start(&self, plan: Plan) -> Run {
        #[cfg(any(test, ringbolt_mutants))]
        if let Some(mutant) = self.mutant {
            return Run::unchecked(mutant.plan(plan));
        }
        Run::new(plan)
    }

    /// The wrong protocol that it was selected with.
    #[cfg(any(test, ringbolt_mutants))]
    pub(crate) fn mutant(&self) -> Option<super::Mutant> {
        self.mutant
    }

    pub(crate) fn info(&self) -> &EngineInfo {
        &self.info
    }
}

/// Why an engine was not started.
#[derive(Debug)]
pub(super) enum NoEngine {
    /// It cannot run here, for this reason. Another engine may take over.
    Refused(String),
    /// An error that another engine must not hide.
    #[cfg_attr(not(all(feature = "uring", target_os = "linux")), allow(dead_code, reason = "only a ring does this"))]
    Failed(io::Error),
}

impl fmt::Display for NoEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoEngine::Refused(why) => f.write_str(why),
            NoEngine::Failed(error) => write!(f, "io_uring does not work here: {error}"),
        }
    }
}

impl From<NoEngine> for Error {
    fn from(no: NoEngine) -> Error {
        match no {
            NoEngine::Refused(why) => Error::new(ErrorKind::EngineUnavailable, Step::StartEngine, "").with_detail(why),
            NoEngine::Failed(error) => Error::from_io(error, Step::StartEngine, "io_uring"),
        }
    }
}

/// Starts the requested engine.
///
/// `Auto` is the portable engine in every build that has it. A single caller's puts through a ring measured 0.82 to 1.13 times
/// the speed of the portable engine, with four times the context switches; concurrent puts were no faster
/// (`docs/performance.md`). So `Auto` does not even probe io_uring: some sandboxes kill a process that tries.
pub(crate) fn select(engine: Engine) -> Result<Selected> {
    Ok(match engine {
        Engine::Portable => portable("requested")?,
        Engine::Uring => uring()?,
        Engine::Auto if cfg!(feature = "portable") => portable("plain calls measured faster than io_uring")?,
        Engine::Auto => uring()?,
    })
}

/// The error for the application's own ring, if it could not be built.
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
pub(crate) fn no_ring(error: io::Error) -> Error {
    super::uring::refused(error).into()
}

/// Checks whether io_uring can be used here: creates a ring, tests its features, and destroys it.
///
/// Some sandboxes kill a process that creates a ring. No other function does so unless [`Engine::Uring`] is requested.
///
/// ```
/// match ringbolt::probe_uring() {
///     Ok(()) => println!("io_uring works here"),
///     Err(error) => println!("{error}"), // says what refuses it, and what to change
/// }
/// ```
///
/// # Errors
///
/// [`EngineUnavailable`](crate::ErrorKind::EngineUnavailable), with the reason, or the kernel's error.
pub fn probe_uring() -> Result<()> {
    uring().map(drop).map_err(Error::from)
}

/// What io_uring can do here.
#[cfg(feature = "bench")]
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) works: bool,
    /// Why it does not work, or what was found.
    pub(crate) reason: String,
    /// Whether a failed fsync cancels the request linked behind it; `None` if that could not be tested.
    pub(crate) failing_fsync_severs_links: Option<bool>,
    /// The opcodes that ringbolt uses and this kernel does not have.
    pub(crate) missing: Vec<&'static str>,
}

#[cfg(feature = "bench")]
impl Examined {
    pub(super) fn refused(no: NoEngine) -> Examined {
        Examined { works: false, reason: no.to_string(), failing_fsync_severs_links: None, missing: Vec::new() }
    }
}

/// Starts a ring, whichever engine is used, and returns what was found.
#[cfg(feature = "bench")]
pub(crate) fn examine_uring() -> Examined {
    #[cfg(all(feature = "uring", target_os = "linux"))]
    return super::uring::examine();
    #[cfg(not(all(feature = "uring", target_os = "linux")))]
    match uring() {
        Ok(_) => unreachable!("this build has no ring"),
        Err(no) => Examined::refused(no),
    }
}

#[cfg(feature = "portable")]
fn portable(reason: &str) -> Result<Selected, NoEngine> {
    Ok(Selected::new(Arc::new(super::portable::Portable::new()), EngineKind::Portable, reason.into()))
}

#[cfg(not(feature = "portable"))]
fn portable(_: &str) -> Result<Selected, NoEngine> {
    Err(NoEngine::Refused("this build has no portable engine: enable the feature `portable`".into()))
}

#[cfg(all(feature = "uring", target_os = "linux"))]
fn uring() -> Result<Selected, NoEngine> {
    let (uring, found) = super::uring::Uring::start()?;
    Ok(Selected::new(Arc::new(uring), EngineKind::Uring, found))
}

/// A ring for the durable writes of one file.
#[cfg(all(feature = "uring", target_os = "linux"))]
pub(super) fn ring_writer() -> Result<Box<dyn DurableWriter>, NoEngine> {
    super::uring::writer()
}

#[cfg(not(all(feature = "uring", target_os = "linux")))]
pub(super) fn ring_writer() -> Result<Box<dyn DurableWriter>, NoEngine> {
    Err(no_ring_here())
}

#[cfg(not(all(feature = "uring", target_os = "linux")))]
fn uring() -> Result<Selected, NoEngine> {
    Err(no_ring_here())
}

#[cfg(not(all(feature = "uring", target_os = "linux")))]
fn no_ring_here() -> NoEngine {
    NoEngine::Refused(if cfg!(target_os = "linux") {
        "this build has no io_uring: enable the feature `uring`".into()
    } else {
        "io_uring exists on Linux only".into()
    })
}
