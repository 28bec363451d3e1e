//! The reader of contents of several files: what it takes is written and read again as the same files, none of which leads elsewhere.

use policyhub::checks::content_tar::{ContentFile, read, write};
use policyhub::domain::limits::{CONTENT_FILES_MAX, CONTENT_PATH_MAX_BYTES};

pub fn check(input: &[u8]) {
    match read(input) {
        Ok(files) => {
            assert!(!files.is_empty() && files.len() <= CONTENT_FILES_MAX);
            for file in &files {
                assert!(file.path.len() <= CONTENT_PATH_MAX_BYTES && !file.path.starts_with('/'), "{}", file.path);
                assert!(file.path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{}", file.path);
            }
            let again = write(files.clone()).expect("what was read can be written");
            assert_eq!(read(&again), Ok(files), "another meaning");
        }
        Err(failure) => assert!(!failure.message.is_empty() && failure.file.chars().count() <= 100, "{failure:?}"),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let file = |path: &str, bytes: &'static [u8]| ContentFile { path: path.to_owned(), bytes };
    let contents = [
        vec![file("policies.cedar", b"permit(principal, action, resource);")],
        vec![file("a.rego", b"package a"), file("a_test.rego", b"package a_test"), file("b/data.json", b"{}")],
        vec![file(&format!("{}/{}", "d".repeat(120), "f".repeat(70)), b"")],
    ];
    contents.into_iter().map(|files| write(files).expect("a content")).collect()
}
