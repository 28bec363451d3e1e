//! A server whose lists never end: the command reports it and ends, and keeps nothing of the pages.

use policyhub::client::pb;

use crate::hostile_words::CommandFixture;

fn event(revision: i64) -> pb::Event {
    pb::Event {
        namespace: "namespaces/default".to_owned(),
        cursor: Some(pb::Cursor { epoch: 1, revision, ..Default::default() }),
        payload: "{}".into(),
        prev_hash: vec![0; 32].into(),
        hash: vec![1; 32].into(),
        ..Default::default()
    }
}

/// Given the same non-empty page for every token, the command fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_comes_again_is_an_error() {
    let scene = CommandFixture::new().await;
    let next_page_token = "more".to_owned();
    let subscribers =
        vec![pb::Subscriber { name: "namespaces/default/subscribers/shop".to_owned(), ..Default::default() }];
    scene.answers(
        "ListSubscribers",
        &pb::ListSubscribersResponse { subscribers, next_page_token: next_page_token.clone() },
    );
    scene.answers("ListEvents", &pb::ListEventsResponse { events: vec![event(1)], next_page_token });
    let (keys, archive) = (scene.keys(), scene.dir.path().join("archive").display().to_string());
    let commands: [(&[&str], &str); 4] = [
        (&["subscribers", "--limit", "1000"], "the same page again"),
        (&["events", "--limit", "1000"], "the same page again"),
        (&["verify", "--log", "--jwks", &keys, "--seal-jwks", &keys], "do not lead on"),
        (&["export", "default", "--out", &archive], "do not lead on"),
    ];
    for (arguments, expected) in commands {
        let (code, _, errors) = scene.run(arguments);
        assert!(code == 1 && errors.contains(expected), "{arguments:?}: {code} {errors}");
    }
}
