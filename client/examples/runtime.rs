//! A runtime in forty lines: it enforces the active set of a namespace, verified, through outages and restarts.
//!
//! ```sh
//! policyhub serve &
//! cargo run -p policyhub-client --example runtime -- http://127.0.0.1:7070 ./policyhub-data/admin.token ./runtime-state
//! ```

use std::error::Error;

use policyhub_client::{Client, TokenSource, View};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().ok_or("usage: runtime ENDPOINT TOKEN_FILE DIRECTORY");
    let client = Client::builder().endpoint(argument()?).token(TokenSource::File(argument()?.into())).build()?;
    // With `.keys(Keys::Pinned(…))` the address alone is not trusted.
    let watcher = client.namespace("default")?.watcher().subscriber_id("runtime-1").directory(argument()?);
    let mut watcher = watcher.open()?;
    let view = watcher.view(); // as many clones as there are threads that decide
    loop {
        let update = watcher.next().await;
        let mut policies = update.active.policies.values();
        match policies.find(|policy| policy.content.as_ref().is_none_or(|bytes| bytes.is_empty())) {
            None => watcher.accept().await,
            Some(policy) => watcher.reject(&format!("{} is empty", policy.policy)).await,
        }
        println!("{}", decide(&view, "pricing"));
    }
}

/// Returns what a request handler does: one look, no lock held, no network.
fn decide(view: &View, policy: &str) -> String {
    let version = view.active().and_then(|active| active.get(policy).map(|policy| policy.version));
    format!("{} {policy} {version:?}", view.status().state)
}
