//! Runs commands of the operator in a process group of their own, with a time limit and a limit on the output that is kept.
//!
//! Boundary: knows nothing of sets; returns how a command ended. Invariants: none of the agent's own settings, and so no token of
//! it, is in the environment of a command; the command has been waited for when the future ends or is dropped.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::output::text;
use crate::domain::limits::NOTE_MAX_BYTES;

/// Prefix of the agent's own settings, and of the variables that it sets for a command.
const OWN: &str = "POLICYHUB_";
/// Most bytes of a command's last output that are kept. Earlier output is dropped.
const KEPT_MAX_BYTES: usize = 16 * 1024;
/// Most reads after a command ended: a process that it left running may write forever.
const REST_MAX_READS: usize = 64;

/// A command, and its time limit.
#[derive(Debug, Clone)]
pub struct Hook {
    /// Name in messages: `--check` or `--hook`.
    pub what: &'static str,
    /// The command for `sh -c`.
    pub command: String,
    /// Time until it is killed.
    pub timeout: Duration,
}

/// How a command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookEnd {
    /// `None` after exit code 0, else the reason to report, within the length limit of a reason.
    pub refused: Option<String>,
    /// Its last lines, without control characters.
    pub said: Vec<String>,
}

impl Hook {
    /// Runs the command to its end. `variables` are added to its environment.
    pub async fn run(&self, variables: &[(&str, OsString)]) -> HookEnd {
        match self.attempt(variables).await {
            Ok(ended) => ended,
            Err(error) => HookEnd { refused: Some(format!("{} failed to run: {error}", self.what)), said: Vec::new() },
        }
    }

    async fn attempt(&self, variables: &[(&str, OsString)]) -> io::Result<HookEnd> {
        // Subscribe before the start: otherwise an early end could be missed.
        let mut ends = signal(SignalKind::child())?;
        let (mut group, reader) = self.start(variables)?;
        // The same pipe: at the end it is read directly, since the runtime may not have seen the rest yet.
        let mut rest = reader.try_clone()?;
        let mut output = Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let mut kept = Kept::default();
        let mut buffer = vec![0; 4096];
        let deadline = tokio::time::sleep(self.timeout);
        tokio::pin!(deadline);
        let mut open = true;
        let status = loop {
            if let Some(status) = group.0.try_wait()? {
                break Some(status);
            }
            tokio::select! {
                () = &mut deadline => break None,
                _ = ends.recv() => {}
                read = output.read(&mut buffer), if open => match read {
                    Ok(0) | Err(_) => open = false,
                    Ok(count) => kept.take(buffer.get(..count).unwrap_or_default()),
                },
            }
        };
        for _ in 0..REST_MAX_READS {
            match rest.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(count) => kept.take(buffer.get(..count).unwrap_or_default()),
            }
        }
        let said = kept.lines();
        let how = match status {
            Some(status) if status.success() => return Ok(HookEnd { refused: None, said }),
            Some(status) => ended_with(status),
            None => format!("took over {} s and was killed", self.timeout.as_secs_f32()),
        };
        Ok(HookEnd { refused: Some(reason(&format!("{} {how}", self.what), &said)), said })
    }

    fn start(&self, variables: &[(&str, OsString)]) -> io::Result<(Group, PipeReader)> {
        let (reader, writer) = io::pipe()?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(&self.command).process_group(0).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with(OWN)) {
                command.env_remove(name);
            }
        }
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.stdout(writer.try_clone()?).stderr(writer);
        Ok((Group(command.spawn()?), reader))
    }
}

/// A command with its process group, killed on drop.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // A command that ended in time may leave processes running. Its process id can't be reused until the child is waited for.
        if let Ok(None) = self.0.try_wait() {
            if let Ok(id) = i32::try_from(self.0.id()) {
                let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
            }
            let _ = self.0.wait();
        }
    }
}

fn ended_with(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Returns how the command ended, and as much of its last output as fits.
fn reason(how: &str, said: &[String]) -> String {
    let mut words = said.join("; ");
    if words.is_empty() {
        return how.to_owned();
    }
    let room = NOTE_MAX_BYTES.saturating_sub(how.len() + 2);
    let mut from = words.len().saturating_sub(room);
    while !words.is_char_boundary(from) {
        from += 1;
    }
    format!("{how}: {}", words.split_off(from))
}

/// The last bytes of an output.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Whether earlier bytes were dropped.
    cut: bool,
}

impl Kept {
    fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let surplus = self.bytes.len().saturating_sub(KEPT_MAX_BYTES);
        if surplus > 0 {
            self.bytes.drain(..surplus);
            self.cut = true;
        }
    }

    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        // After dropped bytes, the first line may be incomplete.
        let whole = text.lines().skip(usize::from(self.cut && self.bytes.contains(&b'\n')));
        whole.map(|line| text::line(line.trim_end()).trim().to_owned()).filter(|line| !line.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(command: &str) -> Hook {
        Hook { what: "--hook", command: command.to_owned(), timeout: Duration::from_secs(20) }
    }

    async fn refused(command: &str) -> String {
        hook(command).run(&[]).await.refused.expect("refused")
    }

    #[tokio::test]
    async fn the_exit_code_decides_and_the_last_words_say_why() {
        let fine = hook("echo one; echo two >&2").run(&[]).await;
        assert_eq!(fine, HookEnd { refused: None, said: vec!["one".to_owned(), "two".to_owned()] });
        assert_eq!(refused("exit 3").await, "--hook exited with 3");
        assert_eq!(refused("echo too strict; exit 1").await, "--hook exited with 1: too strict");
        assert_eq!(refused("kill -TERM $$").await, "--hook ended by signal 15");
        assert!(refused("/no/such/program").await.starts_with("--hook exited with 127: "));
    }

    #[tokio::test]
    async fn words_are_bounded_and_without_control_characters() {
        let said = refused(r"printf 'a\033[2Jb\r\n\n  c\000d\n'; exit 1").await;
        assert_eq!(said, "--hook exited with 1: a [2Jb; c d");
        let long = refused("i=0; while [ $i -lt 20000 ]; do echo line-$i-ä; i=$((i+1)); done; exit 1").await;
        assert!(long.len() <= NOTE_MAX_BYTES && long.len() > NOTE_MAX_BYTES - 8, "{}", long.len());
        assert!(long.starts_with("--hook exited with 1: ") && long.ends_with("line-19999-ä"), "{long}");
        for endless in ["yes | head -c 3000000", "head -c 3000000 /dev/zero | tr '\\0' x"] {
            let kept = hook(endless).run(&[]).await.said.iter().map(String::len).sum::<usize>();
            assert!(kept > KEPT_MAX_BYTES / 4 && kept <= KEPT_MAX_BYTES, "{endless}: {kept}");
        }
    }

    /// Whoever inherits a grandchild reaps it, so a zombie counts as ended.
    fn goes_on(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_all_it_started() {
        let directory = tempfile::tempdir().expect("a directory");
        let pids = directory.path().join("pids");
        let script = format!("sleep 1000 & echo $! > {0}; echo $$ >> {0}; echo waiting; wait", pids.display());
        // The processes can be looked for only once they are known.
        for timeout in [50, 200, 1_000, 5_000, 20_000] {
            let slow = Hook { timeout: Duration::from_millis(timeout), ..hook(&script) };
            let reason = slow.run(&[]).await.refused.expect("refused");
            assert!(reason.starts_with("--hook took over "), "{reason}");
            let known = std::fs::read_to_string(&pids).unwrap_or_default();
            if known.lines().count() < 2 {
                continue;
            }
            assert!(reason.ends_with("was killed: waiting"), "{reason}");
            for pid in known.lines() {
                let gone = async {
                    while goes_on(pid) {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it was killed");
            }
            return;
        }
        panic!("the command never began");
    }

    #[tokio::test]
    async fn what_it_leaves_running_is_not_waited_for() {
        let ended = hook("sleep 1000 & echo $!; exit 0").run(&[]).await;
        assert_eq!(ended.refused, None);
        let pid: i32 = ended.said[0].parse().expect("a process");
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it was left running");
    }

    #[tokio::test]
    async fn a_dropped_run_kills_what_it_ran() {
        let directory = tempfile::tempdir().expect("a directory");
        let pid = directory.path().join("pid");
        let script = format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 1000", pid.display());
        let slow = hook(&script);
        let begun = async {
            while !pid.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = slow.run(&[]) => panic!("it ends by itself"),
            () = begun => {}
        }
        let pid = std::fs::read_to_string(pid).expect("a process");
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "it was killed and waited for");
    }

    #[tokio::test]
    async fn it_is_told_about_the_set_in_its_environment() {
        let told = [("POLICYHUB_SET", OsString::from("a set; $(touch x)"))];
        let ended = hook("env; pwd >/dev/null").run(&told).await;
        let own: Vec<&String> = ended.said.iter().filter(|line| line.starts_with(OWN)).collect();
        assert_eq!(own, ["POLICYHUB_SET=a set; $(touch x)"]);
        assert!(ended.said.iter().any(|line| line.starts_with("PATH=")), "the rest of the environment is there");
    }
}
