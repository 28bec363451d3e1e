//! Server-sent events as text (HTML Living Standard §9.2.5).

use bytes::Bytes;

/// The time after which a browser comes again when a stream ended.
const RETRY_MS: u64 = 3_000;

/// Returns the first event of a stream, with the time after which to come again.
pub fn first_event(html: &str) -> Bytes {
    Bytes::from(format!("retry: {RETRY_MS}\n{}", event_text("part", html)))
}

/// Returns an event with a part of a page.
pub fn part_event(html: &str) -> Bytes {
    Bytes::from(event_text("part", html))
}

/// Returns the event after which the browser shall not come again: why the page is live no more.
pub fn over_event(why: &str) -> Bytes {
    Bytes::from(event_text("over", why))
}

fn event_text(name: &str, data: &str) -> String {
    let mut text = format!("event: {name}\n");
    // A carriage return alone ends a line of an event too, so none may stay within one.
    for line in data.split(['\n', '\r']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_makes_an_event_of_its_own() {
        let event = part_event("a\n\nevent: over\ndata: x\r\rid: 7");
        let text = String::from_utf8(event.to_vec()).expect("text");
        assert_eq!(text, "event: part\ndata: a\ndata: \ndata: event: over\ndata: data: x\ndata: \ndata: id: 7\n\n");
        assert!(first_event("").starts_with(b"retry: 3000\nevent: part\ndata: \n\n"));
    }
}
