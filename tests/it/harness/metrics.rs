//! The server's metrics, as a scrape reads them.

use std::time::Instant;

use super::Hub;
use super::http::get;
use super::watching::DEADLINE;

/// Returns the text of a scrape.
pub fn text(hub: &Hub) -> String {
    get(&hub.http, "/metrics").expect("an answer").2
}

/// Returns the value of a row by its name with labels.
pub fn counted(text: &str, row: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until a scrape has this row.
pub async fn wait_for(hub: &Hub, row: &str) {
    let started = Instant::now();
    loop {
        let text = text(hub);
        if text.lines().any(|line| line == row) {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "never came to {row}:\n{text}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
