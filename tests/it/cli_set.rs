//! `active --format active-releases` and `activate --from`: an active set as a file.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::Hub;
use crate::harness::calls::{NAMESPACE, activate, deactivate, draft, events, head, policy, publish};
use crate::harness::on_both_databases;
use policyhub::client::{Client, pb};

/// Publishes a version with a label.
async fn labelled(client: &Client, id: &str, label: &str) {
    let request = pb::DraftRequest {
        parent: policy(id),
        content: format!("label: {label}").into_bytes().into(),
        content_type: "application/yaml".to_owned(),
        label: label.to_owned(),
        allow_missing: true,
        ..Default::default()
    };
    let version = client.draft(request).await.expect("a draft").version.expect("a version");
    let request = pb::PublishRequest { name: version.name, ..Default::default() };
    client.publish(request).await.expect("a publication");
}

fn run(mut command: Command, arguments: &[&str]) -> (i32, String, String) {
    let command = command.args(arguments).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("a code"), text(stdout), text(stderr))
}

/// Writes a file with this text and returns its path.
fn file(hub: &Hub, name: &str, text: &str) -> String {
    let path = hub.dir.path().join(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

fn releases(hub: &Hub) -> String {
    let (code, text, errors) = run(hub.cli(), &["active", "--format", "active-releases"]);
    assert_eq!(code, 0, "{errors}");
    text
}

on_both_databases! {
    /// Given a file, the active set becomes its content with one event, and a file written before restores it.
    async fn a_file_is_the_whole_set(hub: Hub) {
        let client = hub.client().await;
        assert_eq!(releases(&hub), "{}\n");
        for (id, label) in [("pricing", "1.4.0"), ("pricing", "1.5.0"), ("limits", "2.0.0"), ("old", "1.0.0"), ("same", "1.0.0")] {
            labelled(&client, id, label).await;
        }
        publish(&client, "bare", "n: 1").await;
        publish(&client, "bare", "n: 2").await;
        for id in ["pricing", "old", "same", "bare"] {
            activate(&client, id, 1).await;
        }
        let before = releases(&hub);
        assert_eq!(before, "{\n  \"bare\": 1,\n  \"old\": \"1.0.0\",\n  \"pricing\": \"1.4.0\",\n  \"same\": \"1.0.0\"\n}\n");
        let was = head(&client).await;
        let wanted = file(&hub, "wanted.json", r#"{"pricing": "1.5.0", "limits": "2.0.0", "same": "1.0.0", "bare": 2}"#);

        let rehearsal = ["activate", "--from", &wanted, "--reason", "release 42", "--dry-run"];
        let (code, text, errors) = run(hub.cli(), &rehearsal);
        assert_eq!((code, head(&client).await), (0, was), "{errors}");
        let difference = "bare     1     -> 2\nlimits   -     -> 2.0.0\nold      1.0.0 -> -\npricing  1.4.0 -> 1.5.0\n\
                          4 to change, 1 as they are\n";
        assert!(errors.starts_with(difference) && text.ends_with("nothing was changed\n"), "{errors}{text}");

        let (code, text, errors) = run(hub.cli(), &rehearsal[..5]);
        assert_eq!((code, head(&client).await), (0, was + 1), "{errors}");
        assert!(errors.starts_with(difference) && text.contains(&format!("activated at revision {}", was + 1)), "{text}");
        let made = events(&client, NAMESPACE, was).await;
        assert_eq!((made.len(), made[0].kind(), made[0].changes.len()), (1, pb::EventKind::Activate, 4));
        assert_eq!(made[0].reason, "release 42");
        let now = "{\n  \"bare\": 2,\n  \"limits\": \"2.0.0\",\n  \"pricing\": \"1.5.0\",\n  \"same\": \"1.0.0\"\n}\n";
        assert_eq!(releases(&hub), now);

        let again = ["activate", "--from", &wanted, "--reason", "again"];
        let (code, text, errors) = run(hub.cli(), &again);
        assert_eq!((code, text.as_str(), head(&client).await), (0, "", was + 1), "nothing to change is no event");
        assert!(errors.ends_with("nothing to change: what is active is what the file says\n"), "{errors}");

        let at = was.to_string();
        let (code, text, _) = run(hub.cli(), &["active", "--format", "active-releases", "--at-revision", &at]);
        assert_eq!((code, text.as_str()), (0, before.as_str()), "the past is a file too");
        let old = file(&hub, "before.json", &text);
        let back = ["activate", "--from", &old, "--reason", "back", "--output", "json", "--request-id", "back-1"];
        let (code, text, errors) = run(hub.cli(), &back);
        assert_eq!((code, errors.as_str()), (0, ""), "data alone for programs");
        let document: Value = serde_json::from_str(&text).expect("one document");
        assert_eq!((&document["cursor"]["revision"], &document["request_id"]), (&(was + 2).into(), &"back-1".into()));
        assert_eq!((&document["difference"]["unchanged"], &document["difference"]["changes"][1]["to"]), (&1.into(), &Value::Null));
        assert_eq!(document["difference"]["changes"][3]["to"], serde_json::json!({ "version": 1, "label": "1.4.0" }));
        assert_eq!(releases(&hub), before);
    }

    /// Given a file with several errors, all of them are reported at once, and nothing moves.
    async fn a_file_that_can_not_be_changes_nothing(hub: Hub) {
        let client = hub.client().await;
        labelled(&client, "pricing", "1.0.0").await;
        draft(&client, "pricing", "n: 2").await;
        activate(&client, "pricing", 1).await;
        let at = head(&client).await;
        let activate_from = |text: &str| {
            let path = file(&hub, "bad.json", text);
            let (code, out, errors) = run(hub.cli(), &["activate", "--from", &path, "--reason", "r"]);
            assert_eq!((code, out.as_str()), (1, ""), "{errors}");
            errors
        };
        let errors = activate_from(r#"{"pricing": 2, "limits": "1.0.0", "nobody": 7}"#);
        for received in ["limits@v1.0.0: does not exist", "nobody@7: does not exist", "pricing@2: is DRAFT"] {
            assert!(errors.contains(received), "{errors}");
        }
        assert!(activate_from(r#"{"pricing": "9.9.9"}"#).contains("pricing@v9.9.9: does not exist"));
        assert!(activate_from(r#"{"pricing": "1.0.0", "pricing": "1.0.0"}"#).contains("is named twice"));
        assert!(activate_from("[]").contains("expected an object"));
        assert!(activate_from("{}").contains("names no policy, and 1 is active"));
        assert!(activate_from(&" ".repeat(2 * 1024 * 1024 + 1)).contains("over 2097152 bytes"));
        let many: Vec<String> = (0..101).map(|index| format!("\"p{index}\": 1")).collect();
        let errors = activate_from(&format!("{{{}}}", many.join(",")));
        assert!(errors.contains("102 policies differ") && errors.contains("100 at most"), "{errors}");
        assert_eq!(head(&client).await, at);
        deactivate(&client, "pricing").await;
        let path = file(&hub, "empty.json", "{}");
        assert_eq!(run(hub.cli(), &["activate", "--from", &path, "--reason", "r"]).0, 0, "nothing is active already");
    }
}
