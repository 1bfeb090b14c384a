//! Which engine runs, and why.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::{Engine, EngineInfo, EngineKind, Interpreter};
use crate::error::{Error, ErrorKind, Result, Step};
use crate::protocol::{Plan, Run};

/// An engine that was started.
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

    pub(crate) fn info(&self) -> &EngineInfo {
        &self.info
    }
}

/// Why an engine was not started.
#[derive(Debug)]
pub(super) enum NoEngine {
    /// It cannot run here, for this reason; another may take over.
    Refused(String),
    /// Something is wrong that another engine must not hide.
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

/// Starts the engine asked for.
///
/// `Auto` is the portable engine wherever it is built: alone, puts through a ring measured 0.93 to 1.04 of the speed of plain
/// calls on the caller's thread, with five times the context switches; in a crowd no faster (`docs/performance.md`). So
/// io_uring is not even probed before somebody asks; some sandboxes kill a process that tries.
pub(crate) fn select(engine: Engine) -> Result<Selected> {
    Ok(match engine {
        Engine::Portable => portable("asked for")?,
        Engine::Uring => uring()?,
        Engine::Auto if cfg!(feature = "portable") => portable("plain calls measured faster than io_uring")?,
        Engine::Auto => uring()?,
    })
}

/// What is told where somebody else's ring could not be made.
#[cfg(all(feature = "tokio-uring", target_os = "linux"))]
pub(crate) fn no_ring(error: io::Error) -> Error {
    super::uring::refused(error).into()
}

/// Tries whether an io_uring can be used here: makes one, checks what it can do, and ends it again.
///
/// Some sandboxes kill a process that tries, so no other function does this unless [`Engine::Uring`] is asked for.
///
/// ```
/// match ringbolt::probe_uring() {
///     Ok(()) => println!("io_uring works here"),
///     Err(error) => println!("{error}"), // by what it is refused, and what to change
/// }
/// ```
///
/// # Errors
///
/// [`EngineUnavailable`](crate::ErrorKind::EngineUnavailable), with the reason in words; or the kernel's error.
pub fn probe_uring() -> Result<()> {
    uring().map(drop).map_err(Error::from)
}

/// What io_uring is good for here.
#[cfg(feature = "bench")]
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) works: bool,
    /// Why not, or what was found.
    pub(crate) reason: String,
    /// Whether a failing fsync cancels the request that is linked behind it; `None` if it could not be tried.
    pub(crate) failing_fsync_severs_links: Option<bool>,
    /// The requests that ringbolt makes and this kernel does not know.
    pub(crate) missing: Vec<&'static str>,
}

#[cfg(feature = "bench")]
impl Examined {
    pub(super) fn refused(no: NoEngine) -> Examined {
        Examined { works: false, reason: no.to_string(), failing_fsync_severs_links: None, missing: Vec::new() }
    }
}

/// Starts a ring, whichever engine is used, and tells what was found.
#[cfg(feature = "bench")]
pub(crate) fn examine_uring() -> Examined {
    #[cfg(all(feature = "uring", target_os = "linux"))]
    return super::uring::examine();
    #[cfg(not(all(feature = "uring", target_os = "linux")))]
    match uring() {
        Ok(_) => unreachable!("there is no ring in this build"),
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

#[cfg(not(all(feature = "uring", target_os = "linux")))]
fn uring() -> Result<Selected, NoEngine> {
    Err(NoEngine::Refused(if cfg!(target_os = "linux") {
        "this build has no io_uring: enable the feature `uring`".into()
    } else {
        "io_uring exists on Linux only".into()
    }))
}
