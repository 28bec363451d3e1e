//! Runs the `git` binary: no shell, output separated by NUL, and no argument that git could take for an option.
//!
//! Boundary: returns what git says, decides nothing. Reads objects, never files: a release publishes what the commit holds.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::release::folder::{EntryKind, TreeEntry};
use anyhow::{Context as _, bail, ensure};

/// Most bytes of output of one command: a listing of a million files.
const OUTPUT_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Most bytes of git's stderr in an error.
const ERROR_MAX_BYTES: u64 = 2 * 1024;
/// The default folder of policies.
pub const POLICIES: &str = "policies";
/// The folder where a release records what it delivered.
pub const STATE: &str = ".state";

/// A repository with a working tree.
#[derive(Debug, Clone)]
pub struct Git {
    root: PathBuf,
    /// The folder of the policies, relative to the root, with `/` between its parts and none at its ends.
    top: String,
}

/// The full id of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit(String);

impl Commit {
    /// Parses 40 or 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex && matches!(text.len(), 40 | 64)).then(|| Self(text.to_owned()))
    }

    /// Returns the whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first 12 digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl Git {
    /// Opens the repository that a directory lies in, with its policies in `top`.
    ///
    /// # Errors
    /// There is no git, no repository, or no working tree.
    pub fn open(directory: &Path, top: &str) -> anyhow::Result<Self> {
        let started = Self { root: directory.to_owned(), top: top.to_owned() };
        let root = started
            .line(&["rev-parse", "--show-toplevel"])
            .with_context(|| format!("{} is not in the working tree of a git repository", directory.display()))?;
        Ok(Self { root: PathBuf::from(root), ..started })
    }

    /// Returns the folder of the policies, from the top of the working tree.
    pub fn top(&self) -> &str {
        &self.top
    }

    /// Returns the path of `.state`, from the top of the working tree: each folder of policies has its own.
    pub fn state_path(&self) -> String {
        if self.top == POLICIES { STATE.to_owned() } else { format!("{}/{STATE}", self.top) }
    }

    /// Returns the top of the working tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns git's directory for this working tree alone.
    pub fn private_directory(&self) -> anyhow::Result<PathBuf> {
        self.line(&["rev-parse", "--absolute-git-dir"]).map(PathBuf::from)
    }

    /// Returns the commit that is released.
    pub fn head(&self) -> anyhow::Result<Commit> {
        let line = self.line(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
        let line = line.context("the repository has no commit yet")?;
        Commit::parse(&line).with_context(|| format!("git names HEAD {line}"))
    }

    /// Returns whether the clone has only a part of the history.
    pub fn is_shallow(&self) -> anyhow::Result<bool> {
        Ok(self.line(&["rev-parse", "--is-shallow-repository"])? == "true")
    }

    /// Returns whether a commit is in the repository.
    pub fn has(&self, commit: &Commit) -> anyhow::Result<bool> {
        self.holds(&["cat-file", "-e", &format!("{}^{{commit}}", commit.as_str())])
    }

    /// Returns whether `earlier` is `later` or one of its ancestors.
    pub fn is_ancestor(&self, earlier: &Commit, later: &Commit) -> anyhow::Result<bool> {
        self.holds(&["merge-base", "--is-ancestor", earlier.as_str(), later.as_str()])
    }

    /// Returns the paths that differ between two commits, relative to the folder of the policies.
    pub fn changed(&self, from: &Commit, to: &Commit) -> anyhow::Result<Vec<Vec<u8>>> {
        let (from, to) = (from.as_str(), to.as_str());
        let listed = self.read(&["diff-tree", "-r", "-z", "--name-only", "--no-renames", from, to, "--", &self.top])?;
        let own = [STATE.as_bytes(), b"/"].concat();
        let paths = records(&listed).filter_map(|path| self.below(path));
        Ok(paths.filter(|path| !path.starts_with(&own)).map(<[u8]>::to_vec).collect())
    }

    /// Returns the commits that added files to a folder of the working tree, oldest first: `\x01` and the author time in seconds
    /// since the Unix epoch, the author, then the paths relative to the folder; each ended by NUL, the first path after a line feed.
    pub fn additions(&self, folder: &Path) -> anyhow::Result<Vec<u8>> {
        let there = Self { root: folder.to_owned(), ..self.clone() };
        let format = "--format=%x01%at%x00%an";
        there.read(&[
            "log",
            "--reverse",
            format,
            "-z",
            "--name-only",
            "--no-renames",
            "--diff-filter=A",
            "--relative",
            "--",
            ".",
        ])
    }

    /// Returns everything below the folder of the policies, and that folder itself with an empty path.
    pub fn tree(&self, commit: &Commit) -> anyhow::Result<Vec<TreeEntry>> {
        let listed =
            self.read(&["ls-tree", "-r", "-t", "-z", "-l", "--full-tree", commit.as_str(), "--", &self.top])?;
        let entries = records(&listed).map(|record| entry(record).context("git lists a tree in an unknown way"));
        // git also lists the folders above it.
        let below = |entry: TreeEntry| Some(TreeEntry { path: self.below(&entry.path)?.to_vec(), ..entry });
        entries.filter_map(|entry| entry.map(below).transpose()).collect()
    }

    /// Returns a path relative to the folder of the policies; `None` outside of it.
    fn below<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        match path.strip_prefix(self.top.as_bytes())? {
            [] => Some(&[]),
            [b'/', rest @ ..] => Some(rest),
            _ => None,
        }
    }

    /// Reads blobs, in their order. The caller bounds their number and sizes.
    pub fn blobs(&self, ids: &[&str]) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut child = self.command(&["cat-file", "--batch"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut asked = child.stdin.take().context("git has no stdin")?;
        let mut answers = BufReader::new(child.stdout.take().context("git has no stdout")?);
        let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
        let read = std::thread::scope(|scope| {
            // Written concurrently with reading: git may fill its pipe before it has read all lines. It ends early only when git does,
            // and then the answers are missing.
            scope.spawn(move || _ = asked.write_all(lines.as_bytes()));
            let read: anyhow::Result<Vec<Vec<u8>>> = ids.iter().map(|id| blob(&mut answers, id)).collect();
            // Close the pipe: otherwise git could wait forever to write output that nobody reads.
            drop(answers);
            read
        });
        child.wait()?;
        read
    }

    /// Commits these files as they are, including removed ones, and nothing else; returns whether there was anything to commit.
    pub fn commit(&self, paths: &[&str], message: &str) -> anyhow::Result<bool> {
        // `--force`, since a repository may ignore names that begin with a dot.
        self.read(&[&["add", "--force", "--"], paths].concat())?;
        if self.holds(&[&["diff", "--cached", "--quiet", "--"], paths].concat())? {
            return Ok(false);
        }
        self.read(&[&["commit", "--quiet", "--message", message, "--only", "--"], paths].concat())?;
        Ok(true)
    }

    /// Runs a command that must succeed, with `input` on its stdin.
    pub(super) fn feed(&self, arguments: &[&str], input: &[u8]) -> anyhow::Result<()> {
        let mut child = self.command(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut asked = child.stdin.take().context("git has no stdin")?;
        let written = asked.write_all(input);
        drop(asked);
        let verb = arguments.first().copied().unwrap_or_default();
        ensure!(child.wait()?.success(), "git {verb} failed");
        Ok(written?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.root);
        command.args(["--no-pager", "--literal-pathspecs", "--no-replace-objects", "--no-optional-locks"]);
        command.args(arguments).env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Returns the output of a command that must succeed.
    pub(super) fn read(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let (output, code, words) = self.output(arguments)?;
        let verb = arguments.first().copied().unwrap_or_default();
        ensure!(code == Some(0), "git {verb} failed: {words}");
        Ok(output)
    }

    /// Returns the single output line of a command that must succeed.
    pub(super) fn line(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = String::from_utf8(self.read(arguments)?).context("git answers with a name that is not UTF-8")?;
        Ok(output.strip_suffix('\n').unwrap_or(&output).to_owned())
    }

    /// Runs a command that answers yes by exit code 0, and no by 1, or by 128 for an object that does not exist.
    pub(super) fn holds(&self, arguments: &[&str]) -> anyhow::Result<bool> {
        match self.output(arguments)? {
            (_, Some(0), _) => Ok(true),
            (_, Some(1 | 128), _) => Ok(false),
            (_, _, words) => bail!("git {} failed: {words}", arguments.first().copied().unwrap_or_default()),
        }
    }

    fn output(&self, arguments: &[&str]) -> anyhow::Result<(Vec<u8>, Option<i32>, String)> {
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("failed to run git")?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (output, words) = std::thread::scope(|scope| {
            // Read concurrently with stdout: git may fill either pipe first.
            let words = scope.spawn(move || stderr.map(|pipe| bounded(pipe, ERROR_MAX_BYTES)));
            let output = stdout.map(|pipe| bounded(pipe, OUTPUT_MAX_BYTES + 1));
            (output, words.join().unwrap_or_default())
        });
        let output = output.transpose().context("failed to read from git")?.unwrap_or_default();
        if output.len() as u64 > OUTPUT_MAX_BYTES {
            child.kill()?;
            child.wait()?;
            bail!("git lists over {OUTPUT_MAX_BYTES} bytes");
        }
        let code = child.wait()?.code();
        let words = words.transpose().unwrap_or_default().unwrap_or_default();
        Ok((output, code, String::from_utf8_lossy(&words).trim().to_owned()))
    }
}

/// Reads a pipe up to `limit` bytes.
fn bounded(pipe: impl std::io::Read, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn records(listed: &[u8]) -> impl Iterator<Item = &[u8]> {
    listed.split(|byte| *byte == 0).filter(|record| !record.is_empty())
}

/// Parses `mode SP type SP id SP size TAB path`; the size is padded, and `-` for entries without one.
fn entry(record: &[u8]) -> Option<TreeEntry> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let (before, path) = record.split_at_checked(tab)?;
    let mut words = std::str::from_utf8(before).ok()?.split_ascii_whitespace();
    let (mode, _, id, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let kind = match mode {
        "040000" => EntryKind::Directory,
        "120000" => EntryKind::Link,
        "160000" => EntryKind::Submodule,
        _ => EntryKind::File,
    };
    Some(TreeEntry { kind, id: id.to_owned(), size: size.parse().unwrap_or(0), path: path.get(1..)?.to_vec() })
}

/// Reads the next answer of `cat-file --batch`.
fn blob(answers: &mut impl std::io::BufRead, id: &str) -> anyhow::Result<Vec<u8>> {
    let mut header = String::new();
    answers.take(256).read_line(&mut header)?;
    let size = header.strip_suffix('\n').and_then(|line| line.strip_prefix(id)?.strip_prefix(" blob ")?.parse().ok());
    let size: u64 = size.with_context(|| format!("git has no object {id}"))?;
    let mut content = Vec::new();
    answers.take(size).read_to_end(&mut content)?;
    ensure!(content.len() as u64 == size, "git broke off in object {id}");
    let mut end = [0];
    answers.read_exact(&mut end)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_whatever_their_names() {
        let line = |text: &[u8]| entry(text).expect("an entry");
        let file = line(b"100644 blob 0123     881\tpolicies/p/v1.0.0/policy-definition.yaml");
        assert_eq!((file.kind, file.size, file.id.as_str()), (EntryKind::File, 881, "0123"));
        let odd = line(b"120000 blob 0123       -\tpolicies/a\tb\n\xff");
        assert_eq!((odd.kind, odd.size, odd.path.as_slice()), (EntryKind::Link, 0, &b"policies/a\tb\n\xff"[..]));
        assert_eq!(line(b"160000 commit 0123       -\tpolicies/m").kind, EntryKind::Submodule);
        for broken in [&b"100644 blob 0123 1 policies"[..], b"\tpolicies", b""] {
            assert!(entry(broken).is_none(), "{broken:?}");
        }
    }

    #[test]
    fn a_commit_is_hex_in_full() {
        for good in ["a".repeat(40), "0".repeat(64)] {
            assert!(Commit::parse(&good).is_some(), "{good}");
        }
        for bad in ["", "HEAD", "--all", "abc1234", &"A".repeat(40), &"g".repeat(40), &"a".repeat(41)] {
            assert!(Commit::parse(bad).is_none(), "{bad}");
        }
    }
}
