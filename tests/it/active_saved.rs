//! `policyhub active --jwks … --save DIR` and `policyhub verify DIR`: a whole set, verified when it is read and again later; against a
//! hostile server and against edits in the folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policyhub::client::name::PolicyId;
use policyhub::client::pb;
use policyhub::client::signing::TYP_CHECKPOINT;
use serde_json::{Value, json};

use crate::harness::calls::{activate, publish, release};
use crate::harness::hostile_server::HostileServer;
use crate::harness::hub::{Hub, binary};
use crate::harness::on_both_databases;
use crate::harness::signer::{cursor, tree, versions};

fn run(mut command: Command, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().expect("a code"), text(stdout), text(stderr))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Writes the keys of a server to a file and returns its path.
fn keys_file(hub: &Hub) -> String {
    let (code, keys, errors) = run(hub.cli(), &["keys", "list", "--jwks"]);
    assert_eq!(code, 0, "{errors}");
    let path = hub.dir.path().join("keys.json");
    fs::write(&path, keys).expect("written");
    text(&path)
}

/// Verifies a folder and returns the exit code and the output.
fn verify(folder: &Path, keys: &str) -> (i32, String) {
    verify_with(folder, keys, &[])
}

fn verify_with(folder: &Path, keys: &str, arguments: &[&str]) -> (i32, String) {
    let (code, said, errors) = run(binary(), &[&["verify", &text(folder), "--jwks", keys], arguments].concat());
    (code, said + &errors)
}

on_both_databases! {
    async fn a_saved_set_is_verified_as_a_whole(hub: Hub) {
        let client = hub.client().await;
        for id in ["p", "q"] {
            release(&client, id, "a: 1").await;
        }
        let (keys, out) = (keys_file(&hub), hub.dir.path().join("out"));
        let (code, _, errors) = run(hub.cli(), &["active"]);
        assert!(code == 0 && errors.contains("nothing was verified"), "{errors}");
        for round in ["new", "again"] {
            let (code, table, errors) = run(hub.cli(), &["active", "--jwks", &keys, "--save", &text(&out)]);
            assert!(code == 0 && errors.contains("verified: whole, and the newest"), "{round}: {errors}");
            assert!(table.contains("p ") && table.contains("q "), "{table}");
        }
        let (code, said) = verify(&out, &keys);
        assert!(code == 0 && said.starts_with("verified 2 policies of default at 1:"), "{said}");

        type Change = fn(&Path);
        let changes: [(&str, Change); 8] = [
            // A pipe that nobody writes to.
            ("p: content can't be read", |out| {
                fs::remove_file(out.join("p/content")).expect("removed");
                let made = Command::new("mkfifo").arg(out.join("p/content")).status().expect("mkfifo runs");
                assert!(made.success());
            }),
            ("p/notes: is not part of the set", |out| fs::write(out.join("p/notes"), "").expect("written")),
            ("p: content is missing", |out| fs::remove_file(out.join("p/content")).expect("removed")),
            ("p: content of p is not the signed one", |out| fs::write(out.join("p/content"), "a: 2").expect("written")),
            ("q: manifest.jws is missing", |out| fs::remove_file(out.join("q/manifest.jws")).expect("removed")),
            ("q: policy of q is not the signed one", |out| {
                fs::copy(out.join("p/manifest.jws"), out.join("q/manifest.jws")).expect("copied");
            }),
            ("r: is not part of the set", |out| fs::create_dir(out.join("r")).expect("made")),
            ("active set is not the one of the checkpoint", |out| {
                let set = fs::read(out.join("set.json")).expect("a set");
                let mut set: Value = serde_json::from_slice(&set).expect("JSON");
                set["active"].as_array_mut().expect("a list").pop();
                fs::write(out.join("set.json"), set.to_string()).expect("written");
                fs::remove_dir_all(out.join("q")).expect("removed");
            }),
        ];
        for (finding, change) in changes {
            let (code, _, errors) = run(hub.cli(), &["active", "--save", &text(&out)]);
            assert_eq!(code, 0, "{errors}");
            change(&out);
            let (code, said) = verify(&out, &keys);
            assert!(code == 1 && said.contains(finding), "{finding}: {said}");
        }
        // A folder of another owner is not replaced.
        fs::remove_file(out.join("set.json")).expect("removed");
        let (code, _, errors) = run(hub.cli(), &["active", "--save", &text(&out)]);
        assert!(code == 1 && errors.contains("something else than a saved set"), "{errors}");
    }

    async fn a_part_and_the_past_are_what_they_can_be(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "q", "a: 1").await;
        publish(&client, "p", "a: 2").await;
        let before = activate(&client, "p", 2).await - 1;
        let keys = keys_file(&hub);
        let path = |name: &str| hub.dir.path().join(name);
        let (code, table, errors) =
            run(hub.cli(), &["active", "p", "--jwks", &keys, "--save", &text(&path("one"))]);
        assert!(code == 0 && errors.contains("verified: p is in force, and it is the newest"), "{errors}");
        assert!(table.contains("p ") && !table.contains("q "), "{table}");
        let (code, said) = verify_with(&path("one"), &keys, &["--policies", "p"]);
        assert!(code == 0 && said.contains("all in force of p, proven the newest") && !said.contains("whole"), "{said}");
        for (wanted, finding) in [(&[][..], "it is a set of p, not of all policies"), (&["--policies", "p,q"], "not of p, q")] {
            let (code, said) = verify_with(&path("one"), &keys, wanted);
            assert!(code == 1 && said.contains(finding), "{said}");
        }
        let (code, _, errors) = run(hub.cli(), &["active", "later", "--jwks", &keys]);
        assert!(code == 1 && errors.contains("later is not active"), "{errors}");

        let revision = before.to_string();
        let past = ["active", "--jwks", &keys, "--at-revision", &revision, "--save", &text(&path("past"))];
        let (code, _, errors) = run(hub.cli(), &past);
        assert!(code == 0 && errors.contains("nor that these were all"), "{errors}");
        let one = ["active", "p", "--jwks", &keys, "--at-revision", &revision];
        let (code, _, errors) = run(hub.cli(), &one);
        assert!(code == 0 && errors.contains("verified: it came in force at 1:"), "{errors}");
        let (code, said) = verify(&path("past"), &keys);
        assert!(code == 1 && said.contains("it has no checkpoint"), "{said}");
    }
}

/// A hostile server, and the folder that its set is saved to.
struct SavedSetFixture {
    hostile: HostileServer,
    address: String,
    dir: tempfile::TempDir,
}

impl SavedSetFixture {
    async fn new() -> Self {
        let (hostile, address) = HostileServer::listen().await;
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("keys.json"), hostile.signer.keys().to_jwks().to_string()).expect("written");
        Self { hostile, address, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Saves the set of these pages and returns the exit code and the output.
    fn save(&self, pages: &[pb::ListActiveResponse]) -> (i32, String) {
        self.hostile.script().listed = pages.iter().cloned().collect();
        let (keys, out) = (text(&self.path("keys.json")), text(&self.path("out")));
        let arguments = ["--server", &self.address, "active", "--jwks", &keys, "--save", &out];
        let (code, _, errors) = run(binary(), &arguments);
        (code, errors)
    }
}

/// Returns the set right after a revision of the log as one page.
fn page(hostile: &HostileServer, revision: i64) -> pb::ListActiveResponse {
    let pb::Snapshot { bundles, cursor, checkpoint, .. } = hostile.signer.snapshot(revision);
    pb::ListActiveResponse { bundles, cursor, checkpoint, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_lies_about_the_set_is_refused() {
    let scene = SavedSetFixture::new().await;
    let (now, before) = (page(&scene.hostile, 10), page(&scene.hostile, 8));
    let first = |page: &pb::ListActiveResponse| pb::ListActiveResponse {
        bundles: page.bundles[..1].to_vec(),
        next_page_token: "more".to_owned(),
        checkpoint: String::new(),
        ..page.clone()
    };
    let rest =
        |page: &pb::ListActiveResponse| pb::ListActiveResponse { bundles: page.bundles[1..].to_vec(), ..page.clone() };
    let other_set = "active set is not the one of the checkpoint";
    let mut changed = now.clone();
    changed.bundles[0].content = "{}".into();
    for (lie, refusal, pages) in [
        ("a policy left out", other_set, vec![rest(&now)]),
        ("nothing", other_set, vec![pb::ListActiveResponse { bundles: Vec::new(), ..now.clone() }]),
        (
            "pages of two moments",
            other_set,
            vec![pb::ListActiveResponse { cursor: cursor((1, 10)), ..first(&before) }, rest(&now)],
        ),
        ("pages that say so", "pages of several moments", vec![first(&before), rest(&now)]),
        (
            "an older set under the newest checkpoint",
            other_set,
            vec![pb::ListActiveResponse { bundles: before.bundles.clone(), ..now.clone() }],
        ),
        (
            "an older checkpoint",
            "signed for 1:8, not 1:10",
            vec![pb::ListActiveResponse { checkpoint: before.checkpoint.clone(), ..now.clone() }],
        ),
        (
            "no checkpoint",
            "checkpoint does not verify",
            vec![pb::ListActiveResponse { checkpoint: String::new(), ..now.clone() }],
        ),
        ("another content", "content of a is not the signed one", vec![changed]),
    ] {
        let (code, said) = scene.save(&pages);
        assert!(code == 1 && said.contains(refusal), "{lie}: {said}");
        let left: Vec<_> = fs::read_dir(scene.dir.path()).expect("a directory").collect();
        assert_eq!(left.len(), 1, "{lie}: nothing of it is left: {left:?}");
    }
    let (code, said) = scene.save(&[first(&now), rest(&now)]);
    assert!(code == 0 && said.contains("verified: whole, and the newest"), "{said}");
    assert!(scene.path("out").join("a/content").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_expired_says_until_when() {
    let scene = SavedSetFixture::new().await;
    let signer = &scene.hostile.signer;
    let expired = signer.token(TYP_CHECKPOINT, &signer.checkpoint((1, 10), &versions(10), 2_000, 900));
    let (code, said) = scene.save(&[pb::ListActiveResponse { checkpoint: expired, ..page(&scene.hostile, 10) }]);
    assert!(code == 0 && said.contains("something newer may be in force"), "{said}");
    let (code, said) = verify(&scene.path("out"), &text(&scene.path("keys.json")));
    assert!(code == 0 && said.contains("whole, proven the newest until 20") && said.contains("(expired"), "{said}");
}

/// Cuts a saved set down to one policy, as anybody with access to the folder can: the proof of a part is computed from the whole without a
/// key.
fn cut_down(out: &Path, kept: &str) {
    let id = PolicyId::parse("policy", kept).expect("an id");
    let mut set: Value = serde_json::from_slice(&fs::read(out.join("set.json")).expect("a set")).expect("JSON");
    for saved in set["active"].as_array().expect("a list") {
        let policy = saved["policy"].as_str().expect("an id");
        if policy != kept {
            fs::remove_dir_all(out.join(policy)).expect("removed");
        }
    }
    set["active"].as_array_mut().expect("a list").retain(|saved| saved["policy"] == kept);
    set["policies"] = json!([kept]);
    set["set_proof"] = json!(STANDARD.encode(tree(&versions(10), 10).prove(&[id].into())));
    fs::write(out.join("set.json"), set.to_string()).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_saved_set_is_not_the_set() {
    let scene = SavedSetFixture::new().await;
    let (out, keys) = (scene.path("out"), text(&scene.path("keys.json")));
    let whole = || {
        let (code, said) = scene.save(&[page(&scene.hostile, 10)]);
        assert_eq!(code, 0, "{said}");
    };
    whole();
    cut_down(&out, "b");
    let (code, said) = verify(&out, &keys);
    assert!(code == 1 && said.contains("it is a set of b, not of all policies"), "{said}");
    let (code, said) = verify_with(&out, &keys, &["--policies", "b"]);
    assert!(code == 0 && said.contains("all in force of b") && !said.contains("whole"), "{said}");
    whole();
    assert_eq!(verify(&out, &keys).0, 0);
    cut_down(&out, "nothing");
    for wanted in [&[][..], &["--policies", "nothing"]] {
        let (code, said) = verify_with(&out, &keys, wanted);
        assert!(code == 1 && said.contains("it is a set of nothing, "), "{said}");
    }
}
