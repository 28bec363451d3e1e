//! Reads and writes directories of sets: written completely or not at all, and compared with what they should hold.
//!
//! Boundary: knows one directory, `sets/`; not which set is in force. Invariant: a directory with the name of a set is complete and
//! flushed to disk, since it is built under another name first.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::cli::agent::set::{Candidate, INDEX, Index, POLICIES};
use crate::client::CONTENT_MAX_BYTES;
use crate::client::durable::sync_directory_of;
use crate::client::signing::digest_of;

/// Prefix of the names under which sets are built. No name of a set begins so.
const DRAFT: &str = ".new-";
/// Read-only: the files in force must stay as verified. The umask restricts who reads them.
const FILE_MODE: u32 = 0o444;
/// Largest index that is read: the longest entry of each policy that a namespace may have.
const INDEX_MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Files that are flushed concurrently: flushing thousands one by one is slow.
const FLUSHES_MAX: usize = 16;
/// Most damaged directories under the name of one set, before an operator must look.
const DAMAGED_MAX: usize = 100;

/// Writes a set below `sets` unless it is there; returns its name. Files of `former` with the same bytes are shared.
///
/// # Errors
/// The disk fails. Nothing under the name of a set is changed.
pub fn write(sets: &Path, set: &Candidate, former: Option<&str>) -> anyhow::Result<String> {
    let name = set.name();
    for copy in 0..DAMAGED_MAX {
        // A damaged directory may be in force, so it is left as it is.
        let name = if copy == 0 { name.clone() } else { format!("{name}.{copy}") };
        let place = sets.join(&name);
        if fs::symlink_metadata(&place).is_err() {
            let former = former.map(|former| sets.join(former));
            build(sets, &name, set, former.as_deref())
                .with_context(|| format!("failed to write {}", place.display()))?;
            return Ok(name);
        }
        if holds(&place, set, true) {
            return Ok(name);
        }
    }
    anyhow::bail!("every copy of {name} in {} is damaged", sets.display())
}

fn build(sets: &Path, name: &str, set: &Candidate, former: Option<&Path>) -> io::Result<()> {
    let draft = sets.join(format!("{DRAFT}{name}"));
    remove(&draft)?;
    fs::create_dir(&draft)?;
    let built = fill(&draft, set, former).and_then(|()| fs::rename(&draft, sets.join(name)));
    if built.is_err() {
        // The disk may be full: free what can't be used. The first error is the one to report.
        let _ = remove(&draft);
    }
    built?;
    sync_directory_of(&sets.join(name))
}

fn fill(draft: &Path, set: &Candidate, former: Option<&Path>) -> io::Result<()> {
    let mut written = Vec::new();
    // Made for an empty set too: a runtime that lists it then finds an empty directory instead of an error.
    let policies = draft.join(POLICIES);
    fs::create_dir(&policies)?;
    let mut directories = BTreeSet::from([draft.to_owned(), policies]);
    for (path, bytes) in set.files() {
        let to = draft.join(&path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
            directories.insert(parent.to_owned());
        }
        let shared = former.map(|former| former.join(&path)).filter(|from| has(from, bytes));
        if shared.is_some_and(|from| fs::hard_link(from, &to).is_ok()) {
            continue;
        }
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&to)?.write_all(bytes)?;
        written.push(to);
    }
    written.extend(directories);
    flush(&written)
}

/// Flushes files and directories to disk. All of them are written already, so that the disk can combine the flushes.
fn flush(paths: &[PathBuf]) -> io::Result<()> {
    let flush_all = |paths: &[PathBuf]| paths.iter().try_for_each(|path| File::open(path)?.sync_all());
    std::thread::scope(|scope| {
        let lanes =
            paths.chunks(paths.len().div_ceil(FLUSHES_MAX).max(1)).map(|lane| scope.spawn(move || flush_all(lane)));
        // Start all threads before joining the first.
        let lanes: Vec<_> = lanes.collect();
        lanes
            .into_iter()
            .try_for_each(|lane| lane.join().unwrap_or_else(|_| Err(io::Error::other("flush was cut off"))))
    })
}

/// Returns whether a directory holds exactly this set; without `index`, whether it does apart from its cursor.
pub fn holds(place: &Path, set: &Candidate, index: bool) -> bool {
    let files = set.files();
    let same =
        |(path, bytes): (&PathBuf, &&[u8])| (!index && path == Path::new(INDEX)) || has(&place.join(path), bytes);
    let Ok(found) = files_below(place, files.len()) else { return false };
    found.iter().eq(files.keys()) && files.iter().all(same)
}

/// Reads the index of a directory and checks that the contents are those it names.
///
/// # Errors
/// A file differs from what was written.
pub fn read(place: &Path) -> anyhow::Result<Index> {
    let index = Index::read(&bounded(&place.join(INDEX), INDEX_MAX_BYTES)?)?;
    let mut expected = BTreeSet::from([PathBuf::from(INDEX)]);
    for entry in &index.policies {
        let content = bounded(&place.join(&entry.content), CONTENT_MAX_BYTES as u64)?;
        anyhow::ensure!(digest_of(&content).as_str() == entry.digest, "content of {} is not what it was", entry.policy);
        expected.extend([&entry.content, &entry.manifest].map(PathBuf::from));
    }
    let found = files_below(place, expected.len()).context("failed to list the files")?;
    anyhow::ensure!(found == expected, "files are not those of the index");
    Ok(index)
}

/// Removes partly built sets of a process that was killed.
///
/// # Errors
/// The disk fails.
pub fn remove_drafts(sets: &Path) -> io::Result<()> {
    for name in names(sets)? {
        if name.starts_with(DRAFT) {
            remove(&sets.join(name))?;
        }
    }
    Ok(())
}

/// Removes all but the newest `keep` sets; those of `held` always stay, and count.
///
/// # Errors
/// The disk fails.
pub fn remove_old(sets: &Path, keep: usize, held: &[String]) -> io::Result<()> {
    let mut others: Vec<_> = names(sets)?.into_iter().filter_map(|name| Some((order(&name)?, name))).collect();
    others.retain(|(_, name)| !held.contains(name));
    others.sort();
    let kept = keep.saturating_sub(held.len());
    let surplus = others.len().saturating_sub(kept);
    for (_, name) in others.into_iter().take(surplus) {
        retire(sets, &name)?;
    }
    Ok(())
}

/// Removes one set.
///
/// # Errors
/// The disk fails.
pub fn retire(sets: &Path, name: &str) -> io::Result<()> {
    // Rename first: otherwise a reader could find a part of the set under its name.
    let draft = sets.join(format!("{DRAFT}{name}"));
    remove(&draft)?;
    match fs::rename(sets.join(name), &draft) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => remove(&draft),
    }
}

fn remove(place: &Path) -> io::Result<()> {
    match fs::remove_dir_all(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns whether this is a valid name of a set: nothing else is removed, and no link leads elsewhere.
pub fn is_name(name: &str) -> bool {
    order(name).is_some()
}

/// Returns the cursor in the name of a set.
fn order(name: &str) -> Option<(i64, i64)> {
    let mut parts = name.splitn(3, '-');
    let (epoch, revision, digits) = (parts.next()?, parts.next()?, parts.next()?);
    let well_formed = digits.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'.');
    well_formed.then_some((epoch.parse().ok()?, revision.parse().ok()?))
}

fn names(sets: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(sets)?.collect::<io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Lists the files below a directory, at most one more than expected, so that a foreign tree is not walked to its end.
fn files_below(place: &Path, expected: usize) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        for entry in fs::read_dir(place.join(&inner))? {
            let entry = entry?;
            let path = inner.join(entry.file_name());
            if entry.file_type()?.is_dir() && path.components().count() <= 2 {
                open.push(path);
            } else {
                found.insert(path);
            }
            if found.len() > expected {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

fn has(path: &Path, bytes: &[u8]) -> bool {
    bounded(path, bytes.len() as u64).is_ok_and(|found| found == bytes)
}

/// Reads a file, up to one byte more than its bound.
fn bounded(path: &Path, bound: u64) -> anyhow::Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(bound.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().with_context(|| format!("failed to read {}", path.display()))?;
    anyhow::ensure!(bytes.len() as u64 <= bound, "{} is over {bound} bytes", path.display());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;
    use crate::cli::agent::samples::set;

    fn write_all(sets: &Path, of: &[Candidate]) -> Vec<String> {
        of.iter().map(|set| write(sets, set, None).expect("written")).collect()
    }

    #[test]
    fn a_set_is_written_whole_and_read_back() {
        let sets = tempfile::tempdir().expect("a directory");
        let new = set(7, &[("a", 2), ("b", 1)]);
        let name = write(sets.path(), &new, None).expect("written");
        assert_eq!(name, new.name());
        let place = sets.path().join(&name);
        assert_eq!(read(&place).expect("a set"), new.index);
        assert!(holds(&place, &new, true));
        assert_eq!(fs::read_to_string(place.join("policies/a/content.yaml")).expect("content"), "a 2\n");
        assert_eq!(fs::read_to_string(place.join("policies/b/manifest.jws")).expect("proof"), "manifest of b 1");
        let mode = fs::metadata(place.join("policies/a/content.yaml")).expect("there").permissions().mode();
        assert_eq!(mode & 0o333, 0, "nobody writes it: {mode:o}");
        assert_eq!(write(sets.path(), &new, None).expect("there already"), name);
        assert_eq!(names(sets.path()).expect("listed"), [name], "and nothing beside it");
    }

    #[test]
    fn a_set_without_policies_is_one() {
        let sets = tempfile::tempdir().expect("a directory");
        let name = write(sets.path(), &set(1, &[]), None).expect("written");
        assert!(read(&sets.path().join(&name)).expect("a set").policies.is_empty());
        assert!(sets.path().join(name).join(POLICIES).is_dir());
    }

    #[test]
    fn what_did_not_change_is_shared() {
        let sets = tempfile::tempdir().expect("a directory");
        let (old, new) = (set(7, &[("a", 1), ("b", 1)]), set(8, &[("a", 2), ("b", 1)]));
        let former = write(sets.path(), &old, None).expect("written");
        let inode = |name: &str, file: &str| fs::metadata(sets.path().join(name).join(file)).expect("there").ino();
        let shares = |name: &str, file: &str| inode(name, file) == inode(&former, file);
        let name = write(sets.path(), &new, Some(&former)).expect("written");
        assert!(shares(&name, "policies/b/content.yaml") && shares(&name, "policies/b/manifest.jws"));
        assert!(!shares(&name, "policies/a/content.yaml"));
        assert!(holds(&sets.path().join(&name), &new, true));

        // A file that was overwritten is not shared.
        let spoiled = sets.path().join(&name).join("policies/b/content.yaml");
        fs::remove_file(&spoiled).expect("removed");
        fs::write(&spoiled, "b 9\n").expect("written");
        let newer = set(9, &[("a", 2), ("b", 1)]);
        let name = write(sets.path(), &newer, Some(&name)).expect("written");
        assert!(holds(&sets.path().join(name), &newer, true));
    }

    #[test]
    fn a_damaged_set_is_seen_and_written_beside_itself() {
        let sets = tempfile::tempdir().expect("a directory");
        let new = set(7, &[("a", 2), ("b", 1)]);
        let damages: [fn(&Path); 5] = [
            |place| fs::write(place.join("policies/c"), "a stray file").expect("written"),
            |place| fs::remove_file(place.join("policies/a/manifest.jws")).expect("removed"),
            |place| {
                fs::remove_file(place.join("policies/a/content.yaml")).expect("removed");
                fs::write(place.join("policies/a/content.yaml"), "a 3\n").expect("written");
            },
            |place| fs::remove_file(place.join(INDEX)).expect("removed"),
            |place| {
                fs::remove_file(place.join(INDEX)).expect("removed");
                fs::write(place.join(INDEX), "{").expect("written");
            },
        ];
        for (count, damage) in damages.iter().enumerate() {
            let name = write(sets.path(), &new, None).expect("written");
            let copy = if count == 0 { new.name() } else { format!("{}.{count}", new.name()) };
            assert_eq!(name, copy);
            let place = sets.path().join(&name);
            assert!(read(&place).is_ok());
            damage(&place);
            assert!(read(&place).is_err() && !holds(&place, &new, true), "damage {count} is seen");
        }
    }

    #[test]
    fn what_a_kill_left_is_removed_and_in_nobodys_way() {
        let sets = tempfile::tempdir().expect("a directory");
        let new = set(7, &[("a", 2)]);
        let draft = sets.path().join(format!("{DRAFT}{}", new.name()));
        fs::create_dir_all(draft.join("policies/a")).expect("made");
        fs::write(draft.join("policies/a/content.yaml"), "a").expect("written");
        let name = write(sets.path(), &new, None).expect("written");
        assert!(holds(&sets.path().join(&name), &new, true));
        fs::create_dir_all(draft.join("policies")).expect("made");
        remove_drafts(sets.path()).expect("removed");
        assert_eq!(names(sets.path()).expect("listed"), [name]);
    }

    #[test]
    fn the_newest_are_kept_and_what_is_held() {
        let sets = tempfile::tempdir().expect("a directory");
        // 10 comes after 9: the order is numeric.
        let all = write_all(sets.path(), &[8, 9, 10, 11, 12].map(|revision| set(revision, &[("a", revision)])));
        fs::create_dir(sets.path().join("not-a-set")).expect("made");
        remove_old(sets.path(), 3, std::slice::from_ref(&all[0])).expect("removed");
        let mut left = names(sets.path()).expect("listed");
        left.sort();
        let mut expected = vec![all[0].clone(), all[3].clone(), all[4].clone(), "not-a-set".to_owned()];
        expected.sort();
        assert_eq!(left, expected, "the held one, the two newest, and what is not ours");
        remove_old(sets.path(), 1, &all).expect("nothing to do");
        assert_eq!(names(sets.path()).expect("listed").len(), 4);
    }

    #[test]
    fn only_names_of_sets_are_names() {
        for name in ["1-7-0123abcd", "1-7-0123abcd.2", "0-0-"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "..", ".new-1-7-0123abcd", "1-7", "1-7-../x", "a-7-00", "not-a-set"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
