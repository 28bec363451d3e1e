//! `policyhub subscribers`

use anyhow::Context as _;
use clap::Args;

use crate::cli::names::short;
use crate::cli::narrowed::Narrowed;
use crate::cli::output::text;
use crate::cli::pages;
use crate::cli::session::Session;
use crate::client::pb;

/// Who watches, by whose credential, and what each one runs
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  policyhub subscribers --limit 100\n  \
                  policyhub subscribers --filter 'online = true AND diverged = true'")]
pub struct SubscribersArguments {
    /// Subscribers at most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: SubscribersArguments) -> anyhow::Result<()> {
    let parent = session.namespace.name();
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let (parent, filter) = (parent.clone(), arguments.narrowed.filter.clone());
        let request = pb::ListSubscribersRequest { parent, page_token, page_size, filter, ..Default::default() };
        let page = session.client.list_subscribers(request).await?;
        Ok((page.subscribers, page.next_page_token))
    });
    let (subscribers, next_page_token) = read.await.context("failed to list the subscribers")?;
    let response = pb::ListSubscribersResponse { subscribers, next_page_token };
    session.output.print(&response, table)?;
    pages::say_if_cut(session.output, response.subscribers.len(), &response.next_page_token, pages::HIGHER_LIMIT);
    Ok(())
}

fn table(response: &pb::ListSubscribersResponse) -> String {
    let rows: Vec<Vec<String>> = response.subscribers.iter().map(row).collect();
    text::table(&["SUBSCRIBER", "ONLINE", "APPLIED", "REJECTED", "SEEN", "PRINCIPAL", "ATTRIBUTES", "NOTE"], &rows)
}

fn row(subscriber: &pb::Subscriber) -> Vec<String> {
    let mut attributes: Vec<String> =
        subscriber.attributes.iter().map(|(key, value)| text::line(&format!("{key}={value}"))).collect();
    attributes.sort_unstable();
    let note = if subscriber.diverged { "diverged: runs another set than it says" } else { &subscriber.reason };
    vec![
        text::line(short(&subscriber.name)),
        if subscriber.online { "yes" } else { "no" }.to_owned(),
        text::cursor(subscriber.applied.as_ref()),
        text::cursor(subscriber.rejected.as_ref()),
        text::time(subscriber.last_seen_time.as_ref()),
        text::line(&subscriber.principal),
        attributes.join(","),
        text::line(note),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_who_runs_what() {
        let at = |revision| Some(pb::Cursor { epoch: 1, revision, ..Default::default() });
        let shop = pb::Subscriber {
            name: "namespaces/default/subscribers/shop-1".to_owned(),
            principal: "local:shop".to_owned(),
            attributes: [("zone", "a\nb"), ("app", "shop")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            applied: at(6),
            rejected: at(8),
            reason: "no\tsuch field".to_owned(),
            last_seen_time: Some(prost_types::Timestamp::default()),
            online: true,
            ..Default::default()
        };
        let idle = pb::Subscriber {
            name: "namespaces/default/subscribers/idle".to_owned(),
            diverged: true,
            ..Default::default()
        };
        let text = table(&pb::ListSubscribersResponse { subscribers: vec![shop, idle], ..Default::default() });
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "SUBSCRIBER  ONLINE  APPLIED  REJECTED  SEEN                  PRINCIPAL   ATTRIBUTES         NOTE",
                "shop-1      yes     1:6      1:8       1970-01-01T00:00:00Z  local:shop  app=shop,zone=a b  no such field",
                "idle        no                                                                              diverged: runs another set than it says",
            ]
        );
    }
}
