//! Tests of the applier, with commands that record what they saw.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::super::samples::{folder, namespace, set};
use super::*;
use crate::client::Cursor;

struct TestFolder {
    home: TempDir,
    for_each_activation: bool,
}

impl TestFolder {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a directory"), for_each_activation: false }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    async fn applier(&self, check: Option<&str>, hook: Option<&str>) -> Applier {
        self.try_applier(check, hook).await.expect("an applier")
    }

    /// Runs commands with `$T` as their own directory beside the folder.
    async fn try_applier(&self, check: Option<&str>, hook: Option<&str>) -> anyhow::Result<Applier> {
        let command = |what, command: Option<&str>| {
            command.map(|command| Hook {
                what,
                command: format!("T='{}'; {command}", self.home.path().display()),
                timeout: Duration::from_secs(20),
            })
        };
        let folder = folder(&self.path("folder"));
        let (check, hook) = (command("--check", check), command("--hook", hook));
        Applier::open(
            folder,
            &namespace(),
            ApplierCommands { check, hook, for_each_activation: self.for_each_activation },
        )
        .await
    }

    /// Returns the revision that the link leads to.
    fn in_force(&self) -> Option<i64> {
        revision_of(&self.path("folder/current"))
    }

    fn said(&self) -> Vec<String> {
        let said = fs::read_to_string(self.path("said")).unwrap_or_default();
        said.lines().map(str::to_owned).collect()
    }
}

fn revision_of(place: &Path) -> Option<i64> {
    let text = fs::read(place.join("active.json")).ok()?;
    serde_json::from_slice::<serde_json::Value>(&text).expect("an index")["revision"].as_i64()
}

fn changed(verdict: ApplyVerdict) -> Vec<String> {
    match verdict {
        ApplyVerdict::Applied(changed) => changed.iter().map(ToString::to_string).collect(),
        other => panic!("not applied: {other:?}"),
    }
}

const TELL: &str = r#"echo "$POLICYHUB_EPOCH:$POLICYHUB_REVISION $POLICYHUB_CHANGED" >> "$T/said""#;

#[tokio::test]
async fn a_change_is_announced_once_and_remembered_over_restarts() {
    let place = TestFolder::new();
    let mut applier = place.applier(None, Some(TELL)).await;
    assert_eq!(changed(applier.take(set(1, &[]), false).await.expect("taken")), [""; 0], "nothing is a set too");
    assert_eq!(place.in_force(), Some(1));
    assert_eq!(changed(applier.take(set(4, &[("a", 1), ("b", 1)]), false).await.expect("taken")), ["a", "b"]);
    assert_eq!(applier.take(set(5, &[("a", 1), ("b", 1)]), false).await.expect("taken"), ApplyVerdict::Unchanged);
    drop(applier);
    let mut applier = place.applier(None, Some(TELL)).await;
    assert_eq!(applier.take(set(4, &[("a", 1), ("b", 1)]), true).await.expect("taken"), ApplyVerdict::Unchanged);
    assert_eq!(changed(applier.take(set(6, &[("b", 1)]), false).await.expect("taken")), ["a"]);
    assert_eq!(place.said(), ["1:1 ", "1:4 a b", "1:6 a"]);
    assert_eq!(place.in_force(), Some(6));
}

#[tokio::test]
async fn a_check_sees_the_set_before_it_is_in_force() {
    let place = TestFolder::new();
    let check = r#"readlink "$POLICYHUB_DIR/current" >> "$T/said"; cat "$POLICYHUB_SET/policies/a/content.yaml" >> "$T/said"
        ! grep -q 'a 2' "$POLICYHUB_SET/policies/a/content.yaml" || { echo 'a 2 is bad'; exit 1; }"#;
    let hook = r#"echo "hook after $(basename "$POLICYHUB_PREVIOUS_SET")" >> "$T/said""#;
    let mut applier = place.applier(Some(check), Some(hook)).await;
    applier.take(set(1, &[("a", 1)]), false).await.expect("taken");
    let first = set(1, &[("a", 1)]).name();
    let verdict = applier.take(set(2, &[("a", 2)]), false).await.expect("taken");
    assert_eq!(verdict, ApplyVerdict::Rejected("--check exited with 1: a 2 is bad".to_owned()));
    assert_eq!(place.in_force(), Some(1));
    assert!(!place.path("folder/sets").join(set(2, &[("a", 2)]).name()).exists(), "nobody needs it");
    applier.take(set(3, &[("a", 3)]), false).await.expect("taken");
    assert_eq!(place.in_force(), Some(3));
    let (link, after) = (format!("sets/{first}"), format!("hook after {first}"));
    assert_eq!(place.said(), ["a 1", "hook after ", &link, "a 2", &link, "a 3", &after]);
}

#[tokio::test]
async fn a_hook_that_fails_brings_the_former_set_back_and_hears_of_it() {
    let place = TestFolder::new();
    let hook = r#"sed -n 's/.*"revision": \([0-9]*\),*/\1/p' "$POLICYHUB_DIR/current/active.json" | tail -1 >> "$T/said"
        [ "$POLICYHUB_REVISION" != 2 ] || { echo no 2 here; exit 7; }"#;
    let mut applier = place.applier(None, Some(hook)).await;
    applier.take(set(1, &[("a", 1)]), false).await.expect("taken");
    let verdict = applier.take(set(2, &[("a", 2)]), false).await.expect("taken");
    assert_eq!(verdict, ApplyVerdict::Rejected("--hook exited with 7: no 2 here".to_owned()));
    assert_eq!(place.in_force(), Some(1));
    assert_eq!(place.said().len(), 3, "for 1, for 2, and for 1 again: {:?}", place.said());
    drop(applier);
    let mut applier = place.applier(None, Some(hook)).await;
    assert_eq!(place.said().len(), 3, "what was accepted is not announced again");
    applier.take(set(3, &[("a", 3)]), false).await.expect("taken");
    assert_eq!(place.in_force(), Some(3));
}

#[tokio::test]
async fn a_first_set_that_is_rejected_leaves_nothing_in_force() {
    let place = TestFolder::new();
    let mut applier = place.applier(None, Some("exit 1")).await;
    assert!(matches!(applier.take(set(1, &[("a", 1)]), false).await, Ok(ApplyVerdict::Rejected(_))));
    assert_eq!(place.in_force(), None);
    assert!(fs::symlink_metadata(place.path("folder/current")).is_err());
}

#[tokio::test]
async fn what_was_in_force_and_not_accepted_is_announced_again() {
    let place = TestFolder::new();
    let mut applier = place.applier(None, Some(TELL)).await;
    applier.take(set(1, &[("a", 1)]), false).await.expect("taken");
    drop(applier);
    for (hook, in_force) in [("exit 1", 1), (TELL, 2)] {
        // As a kill between moving the link and the end of the hook leaves it.
        let folder = folder(&place.path("folder"));
        let name = folder.write(&set(2, &[("a", 2)]), None).expect("written");
        folder.put_in_force(Some(&name)).expect("moved");
        drop(folder);
        let mut applier = place.applier(None, Some(hook)).await;
        assert_eq!(place.in_force(), Some(in_force));
        // The watcher may still have an older set.
        let remembered = applier.take(set(1, &[("a", 1)]), true).await.expect("taken");
        assert_eq!((remembered, place.in_force()), (ApplyVerdict::Unchanged, Some(in_force)), "never back");
    }
    assert_eq!(place.said(), ["1:1 a", "1:2 a"]);
}

#[tokio::test]
async fn an_older_set_is_refused() {
    let place = TestFolder::new();
    let mut applier = place.applier(None, None).await;
    applier.take(set(5, &[("a", 5)]), false).await.expect("taken");
    assert!(matches!(applier.take(set(4, &[("a", 4)]), false).await, Ok(ApplyVerdict::Rejected(_))));
    assert_eq!(place.in_force(), Some(5));
}

#[tokio::test]
async fn a_damaged_set_is_replaced_and_another_namespace_is_refused() {
    let place = TestFolder::new();
    let mut applier = place.applier(None, Some(TELL)).await;
    applier.take(set(5, &[("a", 5)]), false).await.expect("taken");
    drop(applier);
    let content = place.path("folder/current/policies/a/content.yaml");
    fs::remove_file(&content).expect("removed");
    fs::write(&content, "a 6\n").expect("written");
    let mut applier = place.applier(None, Some(TELL)).await;
    assert_eq!(applier.accepted(), None, "it is not what was accepted");
    applier.take(set(5, &[("a", 5)]), true).await.expect("taken");
    assert_eq!(fs::read_to_string(&content).expect("content"), "a 5\n");
    assert_eq!(place.said(), ["1:5 a", "1:5 a"]);
    drop(applier);
    let other = NamespaceId::parse("namespace", "team-a").expect("an id");
    let error = Applier::open(
        folder(&place.path("folder")),
        &other,
        ApplierCommands { check: None, hook: None, for_each_activation: false },
    )
    .await
    .expect_err("refused");
    assert!(error.to_string().contains("namespace default"), "{error}");
}

#[tokio::test]
async fn newer_proofs_of_the_same_contents_need_no_hook() {
    let place = TestFolder::new();
    let mut applier = place.applier(None, Some(TELL)).await;
    applier.take(set(5, &[("a", 5)]), false).await.expect("taken");
    let mut active = (*super::super::samples::policy("a", 5, "application/yaml")).clone();
    active.manifest = "signed again".to_owned();
    let cursor = Cursor { epoch: 1, revision: 9 };
    let resigned = Candidate::new(namespace(), cursor, vec![Arc::new(active)]).expect("a set");
    assert_eq!(applier.take(resigned, false).await.expect("taken"), ApplyVerdict::Renewed);
    let manifest = fs::read_to_string(place.path("folder/current/policies/a/manifest.jws")).expect("a proof");
    assert_eq!((manifest.as_str(), place.said().len()), ("signed again", 1));
}

#[tokio::test]
async fn the_same_versions_by_a_newer_activation_are_announced_where_each_counts() {
    let again = |cursor: i64, activated: i64| {
        let mut active = (*super::super::samples::policy("a", 5, "application/yaml")).clone();
        active.activated = Cursor { epoch: 1, revision: activated };
        let rest = super::super::samples::policy("b", 1, "application/yaml");
        Candidate::new(namespace(), Cursor { epoch: 1, revision: cursor }, vec![Arc::new(active), rest]).expect("a set")
    };
    for (for_each_activation, said) in [(false, vec!["1:5 a b"]), (true, vec!["1:5 a b", "1:6 a", "1:9 a"])] {
        let place = TestFolder { for_each_activation, ..TestFolder::new() };
        let mut applier = place.applier(None, Some(TELL)).await;
        applier.take(again(5, 5), false).await.expect("taken");
        let verdict = applier.take(again(6, 6), false).await.expect("taken");
        assert_eq!(matches!(verdict, ApplyVerdict::Applied(_)), for_each_activation, "{verdict:?}");
        let verdict = applier.take(again(8, 6), false).await.expect("taken");
        assert_eq!(verdict, ApplyVerdict::Unchanged, "no activation in between");
        drop(applier);
        // A set that the folder has and the watcher lacks is not announced again after a restart.
        let mut applier = place.applier(None, Some(TELL)).await;
        assert_eq!(applier.take(again(5, 5), true).await.expect("taken"), ApplyVerdict::Unchanged);
        assert_eq!(applier.take(again(6, 6), false).await.expect("taken"), ApplyVerdict::Unchanged);
        applier.take(again(9, 9), false).await.expect("taken");
        assert_eq!(place.said(), said);
    }
}

#[tokio::test]
async fn a_disk_that_refuses_leaves_what_is_in_force() {
    let place = TestFolder::new();
    let mut applier = place.applier(None, None).await;
    applier.take(set(5, &[("a", 5)]), false).await.expect("taken");
    // A file in place of the draft's directory can't be removed as a directory, even when the tests run as root.
    let sets = place.path("folder/sets");
    let new = set(6, &[("a", 6)]);
    fs::write(sets.join(format!(".new-{}", new.name())), "in the way").expect("written");
    let error = applier.take(new.clone(), false).await.expect_err("refused");
    assert!(format!("{error:#}").contains("failed to write"), "{error:#}");
    assert_eq!(place.in_force(), Some(5));
    fs::remove_file(sets.join(format!(".new-{}", new.name()))).expect("removed");
    assert_eq!(changed(applier.take(new, false).await.expect("taken")), ["a"], "the same set may be taken again");
    assert_eq!(place.in_force(), Some(6));
}
