//! `policyhub verify --log` and `policyhub export`, as an auditor runs them.

use std::process::{Command, Output};

use crate::harness::calls::{publish, release};
use crate::harness::hub::binary;
use crate::harness::on_both_databases;

fn run(mut command: Command, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().expect("a code"), text(stdout), text(stderr))
}

on_both_databases! {
    with &["--audit-interval-ms", "0"];

    async fn a_log_is_verified_online_and_from_a_file(hub: Hub) {
        let client = hub.client().await;
        release(&client, "p", "a: 1").await;
        release(&client, "p", "a: 2").await;
        publish(&client, "q", "a: 1").await;
        let path = |name: &str| hub.dir.path().join(name).display().to_string();
        let (file, keys, seals) = (path("default.jsonl"), path("keys.json"), path("seals.json"));
        for (flag, path) in [("--jwks", &keys), ("--seal-jwks", &seals)] {
            let (code, text, _) = run(hub.cli(), &["keys", "list", flag]);
            assert_eq!(code, 0);
            std::fs::write(path, text).expect("written");
        }
        let (code, text, errors) = run(hub.cli(), &["verify", "--log"]);
        assert_eq!(code, 0, "{text}{errors}");
        assert!(text.starts_with("verified default: 8 events, 3 published versions, "), "{text}");
        assert!(errors.contains("the keys came with the log"), "{errors}");
        let head = text.lines().find_map(|line| line.strip_prefix("head ")).expect("a head").to_owned();
        let pinned = ["verify", "--log", "default", "--jwks", &keys, "--seal-jwks", &seals, "--output", "json"];
        let (code, text, errors) = run(hub.cli(), &pinned);
        assert_eq!((code, errors.as_str()), (0, ""), "{text}");
        let verdict: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&verdict["verified"], &verdict["head"]), (&true.into(), &head.as_str().into()));

        let (code, text, errors) = run(hub.cli(), &["export", "default", "--out", &file]);
        assert_eq!((code, text), (0, format!("wrote {file}: 8 events, 3 published versions\n")), "{errors}");
        assert_eq!(run(hub.cli(), &["export", "default", "--out", &file]).0, 1, "a file that is there stays");
        // Offline, with nothing from a server but the exported files.
        let offline = ["verify", "--log", "--from", &file, "--jwks", &keys, "--seal-jwks", &seals, "--expect-head", &head];
        let (code, text, errors) = run(binary(), &offline);
        assert_eq!(code, 0, "{text}{errors}");
        let head_line = format!("head {head}\n");
        assert!(text.ends_with(&head_line), "{text}");

        let exported = std::fs::read_to_string(&file).expect("text");
        let other = exported.lines().find(|line| line.starts_with("{\"version\"")).expect("a version").to_owned();
        let last = exported.lines().rfind(|line| line.starts_with("{\"version\"")).expect("a version");
        let manifest = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["version"]["manifest"].to_string();
        let edited = exported.replacen(&manifest(last), &manifest(&other), 1);
        std::fs::write(&file, &edited).expect("written");
        let (code, text, errors) = run(binary(), &offline);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("its manifest says something else than its row") && text.contains("not verified: default"), "{text}");
        assert!(errors.contains("does not hold"), "{errors}");
        assert_eq!(run(binary(), &["verify", "--log", "--from", &path("none")]).0, 1);
        assert_eq!(run(binary(), &["verify", "--log", "--from", &file, "--expect-head", "x"]).0, 2);
        assert_eq!(run(binary(), &["verify"]).0, 2);

        // The server's own findings after its database was edited, and the log that it refuses to show.
        hub.tamper("UPDATE policies SET description = 'x' WHERE id = 'q'");
        let (code, text, _) = run(hub.cli(), &["verify", "--log"]);
        assert!(code == 1 && text.contains("server: event ") && text.contains("policies q: its tag"), "{text}");
        if hub.database_url.starts_with("sqlite") {
            hub.tamper("DROP TRIGGER events_refuse_update");
        } else {
            hub.tamper("ALTER TABLE events DISABLE TRIGGER USER");
        }
        hub.tamper("UPDATE events SET statement = '' WHERE namespace = 'default'");
        let (code, text, _) = run(hub.cli(), &["verify", "--log", "--output", "json"]);
        let verdict: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let by = |who: &str| verdict["findings"].as_array().expect("a list").iter().any(|found| found["by"] == who);
        assert!(code == 1 && verdict["verified"] == false && by("here") && by("server"), "{text}");
    }
}
