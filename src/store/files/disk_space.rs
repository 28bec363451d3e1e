//! The disk of a SQLite database: its free space, and the limit of file sizes.

use std::fs;
use std::path::Path;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

use crate::domain::Reason;
use crate::store::files::sqlite_file::with_suffix;
use crate::store::health::write_blocker::WriteBlocker;

/// Minimal free space on the disk of a SQLite database. Less: a write of one content with its indexes does not fit, and the next start has
/// no space for SQLite's own files. More: writes that would fit are refused.
const FREE_MIN_BYTES: u64 = 1 << 20;
/// Distance from the file size limit within which a failed write is attributed to that limit: the size that one transaction adds.
const LIMIT_MARGIN_BYTES: u64 = 4 << 20;
/// Returns why a SQLite database that can be read can't be written to. `is_full`: SQLite reported a full disk.
pub(in crate::store) fn unwritable(path: &Path, is_full: bool) -> WriteBlocker {
    if is_limit_near(path) {
        let message =
            "a limit of the size of files (ulimit -f) keeps the database from growing; the operator raises it";
        return WriteBlocker::new(Reason::DatabaseUnavailable, message);
    }
    if is_full || is_nearly_full(path) {
        return WriteBlocker::disk_full();
    }
    let message = "the disk does not take what is written to the database; the operator looks at the disk";
    WriteBlocker::new(Reason::DatabaseUnavailable, message)
}

/// Whether the disk has so little free space that nothing more is written to it. Blocks for a query of the file system.
#[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "elsewhere the numbers are shorter"))]
pub(in crate::store) fn is_nearly_full(path: &Path) -> bool {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Ok(found) = statvfs(directory.unwrap_or(Path::new("."))) else { return false };
    // Space that is reserved for root is free for root.
    let blocks = if geteuid().is_root() { found.blocks_free() } else { found.blocks_available() };
    // Some file systems don't report it.
    found.blocks() > 0 && u64::from(blocks).saturating_mul(found.fragment_size()) < FREE_MIN_BYTES
}

fn is_limit_near(path: &Path) -> bool {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_FSIZE) else { return false };
    let is_near = |suffix: &str| {
        let found = fs::metadata(with_suffix(path, suffix));
        found.is_ok_and(|found| found.len().saturating_add(LIMIT_MARGIN_BYTES) >= limit)
    };
    limit != RLIM_INFINITY && ["", "-wal"].iter().any(|suffix| is_near(suffix))
}
