//! The exact output of a release: text, JSON and Markdown.

use serde_json::json;

use super::repository::{Repository, away_from_github};
use crate::harness::{Database, Hub};

#[tokio::test]
async fn a_release_is_told_as_text_json_and_markdown() {
    let hub = Hub::start(Database::Sqlite).await;
    let repository = Repository::new();
    repository.version("pricing", "1.0.0", "a: 1");
    repository.version("pricing", "1.1.0", "a: [");
    repository.version("pricing", "1.2.0", "a: 1");
    repository.version("limits", "1.0.0", "a: 1");
    repository.write("policies/<img src=x>|`a`](http:\n## x/v1.0.0/metadata.json", "{}");
    let commit = repository.commit();
    let short = &commit[..12];
    let summary = repository.path.join("summary.md");
    std::fs::write(&summary, "before\n").expect("written");
    let mut command = hub.cli();
    away_from_github(&mut command).env("GITHUB_STEP_SUMMARY", &summary);
    let output =
        command.current_dir(&repository.path).args(["release", "--activate", "--jobs", "1"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let expected = format!(
        "release of {short} into default: partial\n\
         3 published, 2 failed\n\
         note: every version folder counts as changed: there is no .state/baseline.sha yet\n\
         failed policies/<img src=x>|`a`](http: ## x/v1.0.0: policy id must match ^[a-z]([a-z0-9_-]{{0,61}}[a-z0-9])?$\n\
         failed pricing@v1.1.0: policy-definition does not parse at line 1: unclosed bracket '['\n\
         activated limits@v1.0.0, pricing@v1.2.0 at revision 7\n\
         baseline stays at the beginning\n"
    );
    assert_eq!(stdout, expected);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    let lines = "checking 4 versions\n\
                 checked 1 of 4\nchecked 2 of 4\nchecked 3 of 4\nchecked 4 of 4\n\
                 publishing 4 versions\n\
                 tried 1 of 4\ntried 2 of 4\ntried 3 of 4\ntried 4 of 4\n\
                 error: the release is partial: what is left is kept for the next one (PARTIAL)\n";
    assert_eq!(stderr, lines, "it is not silent where nobody looks, and failures are told once");

    let markdown = std::fs::read_to_string(&summary).expect("text");
    let expected = format!(
        "before\n\
         ## ⚠️ Policy release: partial\n\n\
         Commit `{short}` into namespace `default`: 3 published, 2 failed. Baseline stays at the beginning.\n\n\
         | version | number | outcome | why |\n|---|---|---|---|\n\
         | policies/\\<img src\\=x\\>\\|\\`a\\`\\](http\\: \\#\\# x/v1\\.0\\.0 |  | failed | policy id must match \
         \\^\\[a-z\\](\\[a-z0-9\\_-\\]\\{{0,61\\}}\\[a-z0-9\\])\\?\\$ |\n\
         | pricing\\@v1\\.1\\.0 |  | failed | policy-definition does not parse at line 1\\: unclosed bracket '\\[' |\n\
         | limits\\@v1\\.0\\.0 | 1 | published |  |\n\
         | pricing\\@v1\\.0\\.0 | 1 | published |  |\n\
         | pricing\\@v1\\.2\\.0 | 2 | published |  |\n\n\
         Activated limits\\@v1\\.0\\.0, pricing\\@v1\\.2\\.0 at revision 7.\n\n\
         - Note: every version folder counts as changed\\: there is no \\.state/baseline\\.sha yet\n\n"
    );
    assert_eq!(markdown, expected);
}

#[tokio::test]
async fn a_release_is_told_as_one_json_document() {
    let hub = Hub::start(Database::Sqlite).await;
    let repository = Repository::new();
    repository.version("pricing", "1.0.0", "a: 1");
    let first = repository.commit();
    repository.release(&hub, &[]).is(0, "success");
    repository.version("pricing", "1.0.0", "a: 7");
    repository.version("pricing", "1.2.0", "a: 1");
    let commit = repository.commit();
    let document = repository.release(&hub, &["--summary", "other.md"]).json();
    let expected = json!({
        "status": "success", "commit": commit, "namespace": "default", "dry_run": false,
        "baseline": {"from": first, "why": null, "moved": true},
        "counts": {
            "published": 1, "would_publish": 0, "already_there": 0, "failed": 0, "held_back": 0, "delivered_before": 1,
        },
        "versions": [{"name": "pricing@v1.2.0", "version": 2, "outcome": "published", "reason": "", "error": "",
                      "file": "policies/pricing/v1.2.0/policy-definition.yaml", "line": 0}],
        "checked": [], "activation": null, "problems": [], "notes": [],
        "warnings": ["pricing@v1.0.0 was changed in git after it was delivered as version 1: it is not delivered again; give the \
                      change a version of its own"],
    });
    assert_eq!(document, expected);
    let received = std::fs::read_to_string(repository.path.join("other.md")).expect("text");
    assert!(received.starts_with("## ✅ Policy release: success\n"), "{received}");

    let ended = repository.run(hub.cli(), &[]);
    let short = &commit[..12];
    assert_eq!(
        (ended.code, ended.stdout),
        (0, format!("release of {short} into default: success\nnothing to deliver\nbaseline stays at {short}\n"))
    );
}
