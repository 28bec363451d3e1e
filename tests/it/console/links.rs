//! Where the links of alarms and of events lead.

use policyhub::client::pb;

use super::browser::{Browser, between};
use crate::harness::archives::{export, history, make, run};
use crate::harness::calls::{draft_request, publish_request, targets};
use crate::harness::on_both_databases;

on_both_databases! {
    /// Given a requirement that was broken by skipping the checks, the alarm leads to the policy whose requirement does not hold.
    async fn the_alarm_of_an_unmet_requirement_leads_to_its_policy(hub: Hub) {
        let admin = hub.client().await;
        for (id, label, requires) in [("base", "1.2.0", None), ("shop", "1.0.0", Some(">=1.2, <2")), ("base", "2.0.0", None)] {
            let requires = requires.map(|version_req| pb::Requirement { policy: "base".to_owned(), version_req: version_req.to_owned() });
            let draft = pb::DraftRequest {
                label: label.to_owned(),
                requires: requires.into_iter().collect(),
                ..draft_request(id, &format!("label: '{label}'"))
            };
            let number = admin.draft(draft).await.expect("a draft").version.expect("a version").version;
            admin.publish(publish_request(id, number)).await.expect("a publication");
            let skipping = pb::ActivateRequest { skip_validation: label == "2.0.0", ..targets(&[(id, number)]) };
            admin.activate(skipping).await.expect("an activation");
        }
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get("/namespaces/default").body;
        let alarm = between(&page, "role=\"alert\">", "</p>");
        assert!(alarm.contains("shop requires base &#62;=1.2, &#60;2."), "{page}");
        let link = between(alarm, "href=\"", "\"");
        assert_eq!(link, "/namespaces/default/policies/shop");
        assert_eq!(browser.get(link).status, 200);
    }

    /// Given a namespace that imported another one, each link of its log leads to a page that is there.
    async fn the_events_of_an_import_lead_to_what_was_imported(hub: Hub) {
        let admin = hub.client().await;
        history(&admin).await;
        let exported = export(&hub, "default", "exported");
        make(&admin, "copy").await;
        let (code, text, errors) = run(hub.cli(), &["import", &exported.display().to_string(), "--into", "copy"]);
        assert_eq!(code, 0, "{text}{errors}");
        let browser = Browser::signed_in(&hub, &hub.token());
        let page = browser.get("/namespaces/copy/log").body;
        assert!(page.contains("<td>IMPORT_NAMESPACE</td>"), "{page}");
        let rows = between(&page, "<tbody>", "</tbody>");
        let links: Vec<&str> = rows.split("href=\"").skip(1).filter_map(|part| part.split('"').next()).collect();
        assert!(links.contains(&"/namespaces/copy/policies/p/versions/1"), "{links:?}");
        for link in links {
            let path = if link.starts_with('/') { link.to_owned() } else { format!("/namespaces/copy/{link}") };
            assert_eq!(browser.get(&path).status, 200, "{path}");
        }
    }
}
