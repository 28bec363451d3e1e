//! Disables core dumps, because the memory of a server holds private keys (docs/security.md#t13).

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, setrlimit};

/// Disables core dumps of this process: by its limit and, on Linux, by the dumpable flag, which a dump handler of the system obeys
/// too. The flag also prevents everybody but root from attaching to the process.
///
/// # Errors
/// The system refuses.
pub(super) fn forbid_core_dumps() -> Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("failed to forbid core dumps")?;
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_dumpable(false).context("failed to forbid core dumps")?;
    Ok(())
}
