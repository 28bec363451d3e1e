//! The forms of a page, filled in and sent as a browser without a script does.

use super::browser::{Answer, Browser, between};

/// Returns the fields of a form of a page, by its action: the hidden ones as they are, and those that are given.
pub fn fill(page: &Answer, action: &str, given: &[(&str, &str)]) -> Vec<(String, String)> {
    let text = between(&page.body, &format!("action=\"{action}\""), "</form>");
    assert!(!text.is_empty(), "no form {action}: {}", page.body);
    let hidden = text.split("<input type=\"hidden\"").skip(1);
    let hidden =
        hidden.map(|input| (between(input, "name=\"", "\"").to_owned(), between(input, "value=\"", "\"").to_owned()));
    let given = given.iter().map(|(name, value)| {
        assert!(text.contains(&format!("name=\"{name}\"")), "{action} has no field {name}: {text}");
        ((*name).to_owned(), (*value).to_owned())
    });
    hidden.chain(given).collect()
}

/// Sends fields to an action.
pub fn send(browser: &mut Browser, action: &str, fields: &[(String, String)]) -> Answer {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post(action, &fields)
}

/// Opens a page, fills in one of its forms, and sends it.
pub fn fill_and_send(browser: &mut Browser, page: &str, action: &str, given: &[(&str, &str)]) -> Answer {
    let fields = fill(&browser.get(page), action, given);
    send(browser, action, &fields)
}
