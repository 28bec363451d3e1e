//! The limits of a worker process for one check of untrusted text, and the finding when one is exceeded.
//!
//! The system enforces the limits on the process; `server::check_worker` sets them, `service::checking` detects when
//! one was exceeded.

use std::time::Duration;

use crate::domain::limits::CHECK_FINDINGS_MAX;

/// CPU time of one evaluation. More: hostile text uses more of a core each time. Less: large valid contents fail on a slow
/// machine.
pub const CHECK_CPU_MAX_SECONDS: u64 = 4;
/// Wall-clock time of one check. Above the CPU time, so that a busy machine does not fail valid checks; with the wait for a slot
/// and a second try it stays below the time that clients give a call, which `service::checking` asserts.
pub const CHECK_WALL_MAX_SECONDS: u64 = 6;
/// How long a check has the priority of the server. More: hostile checks delay calls of others for longer. Less: valid checks of large
/// contents wait for whatever else the machine does.
pub const CHECK_SHORT_MAX: Duration = Duration::from_millis(100);
/// Writable memory of a worker process, including its stack. More: four concurrent workers could exhaust the server's memory. Less:
/// a content of 1 MiB of small objects, 100 MiB when parsed, does not fit.
pub const CHECK_MEMORY_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Address space of a worker process: its memory, its program, and what its allocator reserves without using it.
pub const CHECK_ADDRESS_SPACE_MAX_BYTES: u64 = 512 * 1024 * 1024;
/// Stack of the thread that checks. Less: a deeply nested schema crashes its worker before its author gets an error.
pub const CHECK_STACK_MAX_BYTES: usize = 64 * 1024 * 1024;

// The system counts CPU time in whole seconds, so a check may get one more.
const _: () = assert!(CHECK_CPU_MAX_SECONDS + 1 < CHECK_WALL_MAX_SECONDS);
const _: () = assert!((CHECK_STACK_MAX_BYTES as u64) < CHECK_MEMORY_MAX_BYTES);
const _: () = assert!(CHECK_MEMORY_MAX_BYTES < CHECK_ADDRESS_SPACE_MAX_BYTES);

/// Most findings of the answer to one task: one more than a check lists, so that it can say that there are more.
pub(super) const ANSWER_FINDINGS_MAX: usize = CHECK_FINDINGS_MAX + 1;

/// What ended a check before it had an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckLimit {
    /// The check exceeded [`CHECK_CPU_MAX_SECONDS`].
    Cpu,
    /// The check exceeded [`CHECK_MEMORY_MAX_BYTES`].
    Memory,
    /// The check exceeded [`CHECK_STACK_MAX_BYTES`].
    Stack,
    /// The check exceeded [`CHECK_WALL_MAX_SECONDS`].
    WallTime,
    /// No limit: its process ended, by itself or because it was killed.
    Died,
}

impl CheckLimit {
    /// All of them, for metrics.
    pub const ALL: [CheckLimit; 5] =
        [CheckLimit::Cpu, CheckLimit::Memory, CheckLimit::Stack, CheckLimit::WallTime, CheckLimit::Died];

    /// Returns the name in findings and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CheckLimit::Cpu => "cpu",
            CheckLimit::Memory => "memory",
            CheckLimit::Stack => "stack",
            CheckLimit::WallTime => "wall_time",
            CheckLimit::Died => "died",
        }
    }

    /// Returns the finding for the author; `what` names what was evaluated. The same limit always has the same text.
    #[must_use]
    pub fn message(self, what: &str) -> String {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        let why = match self {
            CheckLimit::Cpu => format!("used over {CHECK_CPU_MAX_SECONDS} s of CPU time"),
            CheckLimit::Memory => format!("used over {} MiB of memory", mib(CHECK_MEMORY_MAX_BYTES)),
            CheckLimit::Stack => format!("used over {} MiB of stack", mib(CHECK_STACK_MAX_BYTES as u64)),
            CheckLimit::WallTime => format!("took over {CHECK_WALL_MAX_SECONDS} s"),
            CheckLimit::Died => "ended its process".to_owned(),
        };
        format!("CHECK_LIMIT_EXCEEDED ({}): {what} {why}; simplify it", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_their_limit() {
        for limit in CheckLimit::ALL {
            let message = limit.message("the JSON Schema");
            assert!(message.starts_with(&format!("CHECK_LIMIT_EXCEEDED ({}): ", limit.as_str())), "{message}");
        }
        assert!(CheckLimit::Memory.message("it").contains("256 MiB of memory"));
    }
}
