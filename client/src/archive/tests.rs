//! A thousand edits of an archive by a hand that knows the format: all of them found.
//!
//! The hand counts the lines again and makes the digest of the end anew, so that nothing but signatures and chain is left.

use super::*;
use policyhub_core::domain::event::Head;
use policyhub_core::domain::limits::ARCHIVE_LINE_MAX_BYTES;
use policyhub_core::signing::archive::*;
use policyhub_core::signing::chain::tests::SampleLog;
use policyhub_core::signing::digest_of;

/// Numbers that look random and are the same every time (Vigna's splitmix64).
struct ArchiveRng(u64);

impl ArchiveRng {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("a small number")
    }
}

/// Returns a log with two policies and eight versions, that imported another one.
fn sample() -> SampleLog {
    sample_of(4)
}

fn sample_of(rounds: i64) -> SampleLog {
    let mut sample = SampleLog::empty("a").fill(rounds);
    sample.import(&other());
    sample
}

thread_local! {
    static OTHER: std::rc::Rc<SampleLog> = std::rc::Rc::new(SampleLog::empty("o").fill(1));
}

fn other() -> std::rc::Rc<SampleLog> {
    OTHER.with(std::rc::Rc::clone)
}

fn rows<'a>(sample: &'a SampleLog, of: &'static str) -> impl Iterator<Item = &'a Vec<u8>> {
    sample.rows.iter().filter(move |((table, _), _)| table == of).map(|(_, row)| row)
}

fn archive(sample: &SampleLog) -> Vec<u8> {
    let mut writer = ArchiveWriter::new(Vec::new(), &sample.trust, &sample.namespace).expect("memory");
    for event in &sample.events {
        writer.add(&LogRead::Event(event)).expect("memory");
    }
    let rows = |of| rows(sample, of);
    for row in rows("policies") {
        writer.add(&LogRead::Row(row)).expect("memory");
    }
    let mut versions: Vec<_> = sample.versions.iter().collect();
    versions.sort_by_key(|(policy, number, _, _)| (policy, number));
    for (policy, number, manifest, content) in versions {
        let row = &sample.rows[&("versions".to_owned(), format!("{policy}/{number}"))];
        writer.add(&LogRead::Version { row, manifest, content }).expect("memory");
    }
    for row in rows("reports").chain(rows("imports")) {
        writer.add(&LogRead::Row(row)).expect("memory");
    }
    if rows("imports").next().is_some() {
        for event in &other().events {
            writer.add(&LogRead::Imported(1, event)).expect("memory");
        }
    }
    writer.end().expect("memory")
}

/// Returns how many things do not hold; a refusal is one.
fn findings(bytes: &[u8], sample: &SampleLog, remembered: Option<Head>) -> u64 {
    let pinned = (Some(sample.trust.keys.clone()), Some(sample.trust.seal_keys.clone()));
    verify_archive(bytes, pinned, remembered).map_or(1, |read| read.check.findings.count)
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// Returns the archive of these lines, with an end that fits them.
fn sealed(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = lines.concat();
    let of =
        |kind: &str| lines.iter().filter(|line| line.starts_with(format!("{{\"{kind}\"").as_bytes())).count() as u64;
    let digest = digest_of(&bytes).to_string();
    let end = ArchiveEnd {
        events: of("event"),
        rows: of("row"),
        contents: of("content"),
        versions: of("version"),
        imported: of("imported"),
        digest,
    };
    bytes.extend(serde_json::to_vec(&ArchiveLine::End(end)).expect("JSON"));
    bytes.push(b'\n');
    bytes
}

#[test]
fn an_archive_holds_as_it_was_written() {
    let sample = sample();
    let bytes = archive(&sample);
    assert_eq!(findings(&bytes, &sample, Some(sample.head())), 0);
    assert_eq!(
        findings(&sealed(&lines(&bytes)[..lines(&bytes).len() - 1]), &sample, None),
        0,
        "the hand knows the format"
    );
    let read = verify_archive(bytes.as_slice(), (None, None), None).expect("an archive");
    assert_eq!((read.check.events, read.check.manifests.len(), read.check.findings.count), (25, 8, 0));
    assert_eq!((read.imported, read.check.carried_rows("reports"), read.lines), (1, 8, 25 + 2 + 16 + 8 + 1 + 6));
    // Another's keys in the first line make another's archive of it, which pinned keys tell.
    let other = archive(&{
        let mut other_keys = SampleLog::empty("a").fill(4);
        other_keys.import(&other());
        other_keys
    });
    assert_eq!(
        verify_archive(other.as_slice(), (None, None), None).map(|read| read.check.findings.count).ok(),
        Some(0)
    );
    assert!(findings(&other, &sample, None) > 0);
}

#[test]
fn a_thousand_edits_are_all_found() {
    let sample = sample_of(2);
    let mut beside = sample.beside("b").fill(2);
    beside.import(&other());
    let beside = lines(&archive(&beside));
    // The same keys and the same cursor, another history.
    let mut fork = sample.beside("a");
    fork.write(policyhub_core::domain::event::EventKind::Stage, vec![], vec![]);
    let mut fork = fork.fill(2);
    fork.import(&other());
    let fork = lines(&archive(&fork));
    let bytes = archive(&sample);
    let all = lines(&bytes);
    let body = &all[..all.len() - 1];
    let mut rng = ArchiveRng(20_261_122);
    let mut done = std::collections::BTreeMap::new();
    for round in 0..1_000 {
        let mut edited = body.to_vec();
        let (at, other) = (1 + rng.below(body.len() - 1), 1 + rng.below(body.len() - 1));
        let what = ["edit a byte", "swap", "delete", "truncate", "duplicate", "fork", "reorder", "copy from beside"]
            [round % 8];
        match what {
            "edit a byte" => {
                let at = rng.below(body.len());
                let byte = rng.below(edited[at].len() - 1);
                edited[at][byte] ^= 1 << rng.below(7);
            }
            "swap" => edited.swap(at, other),
            "delete" => drop(edited.remove(at)),
            "truncate" => edited.truncate(at),
            "duplicate" => edited.insert(other, body[at].clone()),
            // The tail of the other history after the beginning of this one.
            "fork" => {
                let at = 2 + at % (sample.events.len() - 2);
                edited[at..=sample.events.len()].clone_from_slice(&fork[at..=sample.events.len()]);
            }
            "reorder" => edited[1..].rotate_left(1 + rng.below(body.len() - 2)),
            _ => edited[at].clone_from(&beside[at]),
        }
        // An edit may be none.
        if edited == body {
            continue;
        }
        *done.entry(what).or_insert(0) += 1;
        // Without its newest events it is a shorter log that holds: it takes somebody who remembers more of it.
        let remembered = is_tail_gone(&edited, body).then(|| sample.head());
        assert!(
            findings(&sealed(&edited), &sample, remembered) > 0,
            "round {round}: {what} of line {at} or {other} was not found"
        );
    }
    assert!(done.len() == 8 && done.values().all(|count| *count > 90), "{done:?}");
}

fn events(lines: &[Vec<u8>]) -> Vec<&Vec<u8>> {
    lines.iter().filter(|line| line.starts_with(b"{\"event\"")).collect()
}

fn is_tail_gone(edited: &[Vec<u8>], body: &[Vec<u8>]) -> bool {
    let (edited, body) = (events(edited), events(body));
    edited.len() < body.len() && body.starts_with(&edited)
}

#[test]
fn what_is_no_archive_is_refused_and_bounded() {
    let sample = SampleLog::empty("a").fill(1);
    let bytes = archive(&sample);
    for text in [&b""[..], b"{}\n", b"not json\n", &bytes[..10], &bytes[1..]] {
        assert!(matches!(verify_archive(text, (None, None), None), Err(ArchiveError::NotAnArchive)));
    }
    let newer = String::from_utf8(bytes.clone()).expect("text").replacen("\"format\":2", "\"format\":3", 1);
    assert!(matches!(verify_archive(newer.as_bytes(), (None, None), None), Err(ArchiveError::Format(3))));
    // Cut off anywhere, or going on, it is found.
    for end in (1..bytes.len()).step_by(97) {
        assert!(findings(&bytes[..end], &sample, None) > 0, "cut off at {end}");
    }
    assert!(findings(&[&bytes[..], b"\n"].concat(), &sample, None) > 0);
    // A line without an end takes no more memory than a line may.
    let long = [&lines(&bytes)[0][..], &vec![b'x'; 3 * ARCHIVE_LINE_MAX_BYTES]].concat();
    assert!(findings(&long, &sample, None) > 0);
}
