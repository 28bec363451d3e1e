//! Page tokens: an accepted token is exactly one that was issued, for this list, and for no other.
//!
//! The first byte chooses: a token as it is, or a key whose token is made here.

use policyhub::api::page::ListIdentity;
use policyhub::api::{pb, request};
use policyhub::domain::limits::PAGE_MAX_ITEMS;

use super::texts;

pub fn check(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let list = ListIdentity::new(["ListPolicies", "namespaces/default"]);
    let other = ListIdentity::new(["ListPolicies", "namespaces/other"]);
    let size = i32::from(*choice) * 1_000 - 100_000;
    let key = |text: &str| Some(text.to_owned());
    if let Ok(page) = list.page(size, text, key) {
        assert!(size >= 0 && (1..=PAGE_MAX_ITEMS).contains(&page.size));
        match &page.after {
            None => assert!(text.is_empty()),
            Some(after) => assert_eq!(list.token(after), text, "two tokens of one page"),
        }
        assert!(text.is_empty() || other.page(size, text, key).is_err(), "a token of two lists");
    }
    let made = list.token(text);
    if let Ok(page) = list.page(0, &made, key) {
        assert_eq!(page.after.as_deref(), Some(text));
    }
    assert!(other.page(0, &made, key).is_err(), "a token of two lists");
    let parent = "namespaces/default".to_owned();
    let asked = pb::ListPoliciesRequest { parent, page_size: size, page_token: text.to_owned(), ..Default::default() };
    if let Ok(request::PolicyQuery { page, .. }) = request::list_policies(&asked) {
        assert!(page.size <= PAGE_MAX_ITEMS);
    }
    let parent = "namespaces/default/policies/p".to_owned();
    let asked = pb::ListVersionsRequest { parent, page_size: size, page_token: text.to_owned(), ..Default::default() };
    if let Ok(list) = request::list_versions(&asked) {
        assert!(list.page.size <= PAGE_MAX_ITEMS);
    }
    let parent = "namespaces/default".to_owned();
    let asked = pb::ListEventsRequest { parent, page_size: size, page_token: text.to_owned(), ..Default::default() };
    let _ = request::list_events(&asked);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let list = ListIdentity::new(["ListPolicies", "namespaces/default"]);
    let token = list.token("checkout-limits");
    texts(&[&format!("e{token}"), "e", "eTGlzdFBvbGljaWVz", "eAAAA", "echeckout", "\u{1}17"])
}
