//! What the reader of contents of several files takes, and what it refuses by the name of the entry.

use proptest::prelude::*;

use super::*;

fn file(path: &str, bytes: &'static [u8]) -> ContentFile<'static> {
    ContentFile { path: path.to_owned(), bytes }
}

/// Returns a tar of one file whose header was changed, with its checksum set again.
fn changed(change: impl FnOnce(&mut tar::Header)) -> Vec<u8> {
    let mut content = write(vec![file("a.rego", b"package a")]).expect("a content");
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&content[..BLOCK_BYTES]);
    change(&mut header);
    header.set_cksum();
    content[..BLOCK_BYTES].copy_from_slice(header.as_bytes());
    content
}

fn refused(content: &[u8]) -> (String, String) {
    let failure = read(content).expect_err("it is refused");
    (failure.file, failure.message)
}

#[test]
fn the_same_files_are_the_same_bytes() {
    let (one, other) = (file("b/c.rego", b"package c"), file("a.rego", b"package a"));
    let content = write(vec![one.clone(), other.clone()]).expect("a content");
    assert_eq!(content, write(vec![other.clone(), one.clone()]).expect("a content"));
    assert_eq!(read(&content), Ok(vec![other, one]));
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(79));
    let content = write(vec![file(&long, b"")]).expect("a long path");
    assert_eq!(read(&content).expect("files")[0].path, long);
}

#[test]
fn an_entry_is_a_plain_file_and_nothing_else() {
    assert!(read(&changed(|_| {})).is_ok());
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Directory, tar::EntryType::XHeader] {
        let found = refused(&changed(|header| header.set_entry_type(kind)));
        assert_eq!(found, ("a.rego".to_owned(), "the entry is not a regular file".to_owned()), "{kind:?}");
    }
    let changes: [fn(&mut tar::Header); 7] = [
        |header| header.set_mode(0o755),
        |header| header.set_uid(1000),
        |header| header.set_gid(1),
        |header| header.set_mtime(1_700_000_000),
        |header| header.set_username("root").expect("a name"),
        |header| header.set_device_major(1).expect("a device"),
        |header| header.set_link_name("b").expect("a name"),
    ];
    for change in changes {
        let (file, message) = refused(&changed(change));
        assert!(file == "a.rego" && message.starts_with("the entry has an owner"), "{file}: {message}");
    }
    let mut gnu = tar::Header::new_gnu();
    gnu.set_path("a.rego").expect("a path");
    gnu.set_size(0);
    gnu.set_cksum();
    let content = [gnu.as_bytes().as_slice(), &[0; 2 * BLOCK_BYTES]].concat();
    assert_eq!(refused(&content).1, "the entry is not of format ustar");
}

#[test]
fn a_path_leads_nowhere_else() {
    for path in ["/etc/passwd", "../a", "a/../b", "./a", "a//b", "a/", "a\\b", "a\nb", ""] {
        let content = changed(|header| {
            let name = &mut header.as_mut_bytes()[..100];
            name.fill(0);
            name[..path.len()].copy_from_slice(path.as_bytes());
        });
        assert!(read(&content).is_err(), "{path:?}");
        assert!(write(vec![file(path, b"")]).is_err(), "{path:?}");
    }
    let content = changed(|header| header.as_mut_bytes()[0] = 0xff);
    assert_eq!(refused(&content).1, "the path is not UTF-8");
}

#[test]
fn two_files_are_different_on_every_file_system() {
    for (one, other) in [("a", "a"), ("a.rego", "A.rego"), ("a", "a/b"), ("A", "a/b")] {
        assert!(write(vec![file(one, b""), file(other, b"")]).is_err(), "{one} and {other}");
    }
    let a = write(vec![file("a", b"")]).expect("a content");
    let b = write(vec![file("b", b"")]).expect("a content");
    let unsorted = [&b[..BLOCK_BYTES], &a].concat();
    assert_eq!(
        refused(&unsorted),
        ("a".to_owned(), "it is there twice, or not in the byte order of the paths".to_owned())
    );
}

#[test]
fn a_content_is_bounded_and_hides_nothing() {
    let many: Vec<_> = (0..=CONTENT_FILES_MAX).map(|number| file(&format!("{number:04}"), b"")).collect();
    assert!(write(many[1..].to_vec()).is_ok());
    assert!(write(many.clone()).is_err());
    let mut over = write(many[1..].to_vec()).expect("a content");
    over.splice(0..0, write(many[..1].to_vec()).expect("a content")[..BLOCK_BYTES].iter().copied());
    assert_eq!(refused(&over).1, format!("over {CONTENT_FILES_MAX} files"));
    assert!(write(vec![ContentFile { path: "a".to_owned(), bytes: &vec![0; CONTENT_MAX_BYTES] }]).is_err());
    assert!(write(Vec::new()).is_err());

    let content = write(vec![file("a", b"1")]).expect("a content");
    let mut hidden = content.clone();
    hidden[BLOCK_BYTES + 1] = b'x';
    assert_eq!(refused(&hidden), ("a".to_owned(), "bytes that belong to no file follow it".to_owned()));
    let after = [content.as_slice(), b"x"].concat();
    assert!(refused(&after).1.starts_with("not a tar: it does not end"));
    for end in [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, content.len() - 1] {
        assert!(read(&content[..end]).is_err(), "cut at {end}");
    }
    assert!(refused(&changed(|header| header.set_size(u64::MAX / 2))).1.contains("ends before"));
    let padded = [content.as_slice(), &[0; 8 * BLOCK_BYTES]].concat();
    assert!(read(&padded).is_ok(), "other writers fill a record of 20 blocks");
}

proptest! {
    /// Any bytes are files or a failure, and what was read is written and read again as the same.
    #[test]
    fn any_bytes_end_in_files_or_a_failure(noise in proptest::collection::vec(any::<u8>(), 0..2_000), at in 0..700_usize, bit in 0..8) {
        let _ = read(&noise);
        let mut content = write(vec![file("a.rego", b"package a"), file("b.rego", b"")]).expect("a content");
        content[at] ^= 1_u8 << bit;
        if let Ok(files) = read(&content) {
            let again = write(files.clone()).expect("what was read can be written");
            prop_assert_eq!(read(&again), Ok(files));
        }
    }
}
