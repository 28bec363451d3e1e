//! What is released, according to git: what changed since the baseline, and when a baseline is ignored.

use super::repository::Repository;
use crate::harness::calls::{get_version, head};
use crate::harness::on_both_databases;

on_both_databases! {
    async fn each_release_delivers_what_changed_since_the_one_before(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.version("p", "1.10.0", "a: 10");
        repository.version("p", "1.9.0", "a: 9");
        repository.version("q", "0.1.0-rc.1", "q: 1");
        repository.write("README.md", "about");
        repository.write("policies/README.md", "about");
        repository.write("policies/p/README.md", "about");
        let first = repository.commit();
        let ended = repository.release(&hub, &[]);
        let received =
            ["p@v1.0.0 published", "p@v1.10.0 published", "p@v1.9.0 published", "q@v0.1.0-rc.1 published"];
        assert_eq!(ended.is(0, "success").outcomes(), received);
        assert!(ended.lines("notes")[0].contains("there is no .state/baseline.sha yet"), "{ended:?}");
        assert_eq!(repository.baseline(), first);
        // In SemVer order, whatever the order of the names.
        for (label, number) in [("v1.0.0", 1), ("v1.9.0", 2), ("v1.10.0", 3)] {
            let version = get_version(&client, "p", label).await;
            assert_eq!((version.version, version.content_type.as_str()), (number, "application/yaml"));
            assert_eq!(version.change_note, format!("released from git commit {first}"));
        }
        let noted = &repository.delivered()["versions"]["p@v1.9.0"];
        assert_eq!((&noted["version"], &noted["commit"]), (&2.into(), &first.as_str().into()));
        assert_eq!(noted["digest"], get_version(&client, "p", "v1.9.0").await.digest);

        // Nothing changed: no request is sent, and the baseline stays.
        let before = head(&client).await;
        let second = repository.commit();
        let ended = repository.release_to_nobody(&[]);
        ended.is(0, "success");
        assert_eq!((ended.outcomes().len(), repository.baseline()), (0, first.clone()));

        repository.version("p", "2.0.0", "a: 2");
        repository.version("q", "0.1.0", "q: 2");
        let third = repository.commit();
        let ended = repository.release(&hub, &["--jobs", "1"]);
        assert_eq!(ended.is(0, "success").outcomes(), ["p@v2.0.0 published", "q@v0.1.0 published"]);
        assert_eq!(ended.json()["baseline"]["from"], first.as_str());
        assert_eq!((repository.baseline(), head(&client).await), (third.clone(), before + 4));
        assert_ne!(second, third);
    }

    async fn a_baseline_that_is_none_means_the_beginning(hub: Hub) {
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        let root = repository.commit();
        repository.release(&hub, &[]).is(0, "success");
        repository.git(&["checkout", "--quiet", "-b", "aside"]);
        let aside = repository.commit();
        repository.git(&["checkout", "--quiet", "main"]);
        repository.version("p", "1.1.0", "a: 2");
        let commit = repository.commit();
        let absent = "0123456789".repeat(4);
        for (text, why) in [
            ("", "names no commit: \"\""),
            (&"x".repeat(1_000_000), "names no commit: \"xxx"),
            ("HEAD", "names no commit: \"HEAD\""),
            ("--all\u{1b}[2J", "names no commit: \"--all [2J\""),
            (&absent[..], "the baseline 012345678901 is no commit of this repository"),
            (&aside[..], "is not in the history of"),
        ] {
            repository.write(".state/baseline.sha", text);
            let ended = repository.release(&hub, &["--dry-run"]);
            assert!(ended.lines("notes")[0].contains(why), "{text}: {ended:?}");
            assert_eq!(ended.is(0, "success").outcomes(), ["p@v1.1.0 would publish"], "{text}");
            assert_eq!(ended.json()["counts"]["delivered_before"], 1, "what was delivered is dropped first");
        }
        repository.remove(".state/baseline.sha");
        assert_eq!(repository.release(&hub, &[]).is(0, "success").outcomes(), ["p@v1.1.0 published"]);
        assert_eq!(repository.baseline(), commit);
        assert_ne!(root, commit);
    }

    async fn a_shallow_clone_says_what_it_lacks(hub: Hub) {
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.commit();
        repository.release(&hub, &["--commit"]).is(0, "success");
        repository.version("p", "1.1.0", "a: 2");
        repository.commit();
        let clone = Repository::cloned(&repository, &["--depth", "1"]);
        let ended = clone.release(&hub, &[]);
        assert!(ended.lines("notes")[0].contains("fetch-depth: 0"), "{ended:?}");
        assert_eq!(ended.is(0, "success").outcomes(), ["p@v1.1.0 published"]);
        let bare = Repository::cloned(&repository, &["--bare"]);
        let ended = bare.release(&hub, &[]);
        assert!(ended.code == 1 && ended.stderr.contains("is not in the working tree"), "{ended:?}");
    }

    async fn what_was_delivered_is_never_delivered_again(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.version("p", "1.1.0", "a: 1");
        repository.version("q", "1.0.0", "a: 1");
        repository.commit();
        repository.release(&hub, &[]).is(0, "success");
        let before = head(&client).await;
        repository.version("p", "1.0.0", "a: changed");
        repository.remove("policies/q");
        let commit = repository.commit();
        let ended = repository.release(&hub, &[]);
        assert_eq!(ended.is(0, "success").outcomes().len(), 0);
        let warnings = ended.lines("warnings");
        assert!(warnings.len() == 1 && warnings[0].starts_with("p@v1.0.0 was changed in git after it was delivered"));
        assert_eq!(ended.lines("notes"), ["policies/q/v1.0.0 was removed: that delivers nothing"]);
        assert_eq!((repository.baseline(), head(&client).await), (commit, before));
        assert_eq!(repository.delivered_names(), ["p@v1.0.0", "p@v1.1.0", "q@v1.0.0"]);
    }

    async fn a_dry_run_changes_nothing(hub: Hub) {
        let client = hub.client().await;
        let repository = Repository::new();
        repository.version("p", "1.0.0", "a: 1");
        repository.version("q", "1.0.0", "a: [1");
        let commit = repository.commit();
        let before = head(&client).await;
        let ended = repository.release(&hub, &["--dry-run", "--activate"]);
        assert_eq!(ended.is(3, "partial").outcomes(), ["p@v1.0.0 would publish", "q@v1.0.0 failed"]);
        assert_eq!(ended.json()["activation"]["targets"][0]["policy"], "p");
        assert_eq!((head(&client).await, repository.head()), (before, commit));
        assert_eq!(repository.git(&["status", "--porcelain", "--ignored"]), "", "no file is written");
        let locked = repository.path.join(".git/policyhub-release.lock").exists();
        assert!(!locked, "nothing is locked");

        repository.release(&hub, &[]).is(3, "partial");
        repository.remove(".state");
        let ended = repository.release(&hub, &["--dry-run"]);
        assert_eq!(ended.is(3, "partial").outcomes(), ["p@v1.0.0 already there", "q@v1.0.0 failed"]);
        assert!(!repository.path.join(".state").exists(), "what is found there is not marked either");
    }
}
