//! Every action takes the form of its own session and site alone.

use policyhub::http::console::{Handler, ROUTES};

use super::access::{FIELDS, path_of};
use super::browser::Browser;
use crate::harness::calls::{head, release};
use crate::harness::on_both_databases;

on_both_databases! {
    /// Given each action without the token of the session, or from another site, it is refused and nothing changes.
    async fn every_action_wants_its_own_form(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let browser = Browser::signed_in(&hub, &hub.token());
        let own = browser.get("/").form_token();
        let other = Browser::signed_in(&hub, &hub.token()).get("/").form_token();
        assert_ne!(own, other, "each session has a token of its own");
        let before = head(&admin).await;
        let actions: Vec<_> = ROUTES.iter().filter(|route| matches!(route.handler, Handler::Action(_))).collect();
        assert!(actions.len() > 15, "{}", actions.len());
        for route in actions {
            let path = path_of(route.path, "default", 4);
            let with = |token| [&[("form_token", token)], &FIELDS[..]].concat();
            let origin = ("origin", hub.console.as_str());
            for wrong in ["", "x", other.as_str(), &own[1..]] {
                let answer = browser.post_with(&path, &[origin], &with(wrong));
                assert_eq!((answer.status, answer.reason()), (403, "PERMISSION_DENIED"), "{} {wrong}: {answer:?}", route.name);
                assert_eq!(answer.next(), ("", ""), "a role would not help: {answer:?}");
            }
            let missing = browser.post_with(&path, &[origin], &FIELDS);
            assert_eq!((missing.status, missing.reason()), (403, "PERMISSION_DENIED"), "{}: {missing:?}", route.name);
            for headers in [&[][..], &[("origin", "http://evil.example")], &[("origin", "null")], &[origin, ("sec-fetch-site", "cross-site")]] {
                let answer = browser.post_with(&path, headers, &with(&own));
                assert_eq!((answer.status, answer.reason()), (403, "PERMISSION_DENIED"), "{} {headers:?}", route.name);
            }
        }
        assert_eq!(head(&admin).await, before, "nothing was done");
    }

    /// Given a form without a request id, it is refused: sent twice, it would have two effects.
    async fn a_form_has_a_request_id(hub: Hub) {
        let admin = hub.client().await;
        release(&admin, "shop", "a: 1\n").await;
        let mut browser = Browser::signed_in(&hub, &hub.token());
        let token = browser.get("/").form_token();
        let before = head(&admin).await;
        let fields = [("form_token", token.as_str()), ("expected_active", "1"), ("reason", "x")];
        let answer = browser.post("/namespaces/default/policies/shop/deactivate", &fields);
        assert_eq!((answer.status, answer.reason()), (400, "INVALID_ARGUMENT"), "{answer:?}");
        assert!(answer.body.contains("request_id: "), "{answer:?}");
        assert_eq!(head(&admin).await, before);
    }
}
