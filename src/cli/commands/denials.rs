//! `policyhub denials`

use anyhow::Context as _;
use clap::Args;

use crate::cli::narrowed::Narrowed;
use crate::cli::output::text;
use crate::cli::pages;
use crate::cli::session::Session;
use crate::client::{Conditions, pb};

/// Who was refused what in the namespace, for admins
///
/// Equal refusals are one row with a count, newest first. `-n system` has calls of which the namespace is not known.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  policyhub denials -n team-a --principal local:ci")]
pub struct DenialsArguments {
    /// Only those of this principal, as events name it
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    principal: String,
    /// Rows at most
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    narrowed: Narrowed,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: DenialsArguments) -> anyhow::Result<()> {
    let parent = session.namespace.name();
    let mut conditions = Conditions::default();
    if !arguments.principal.is_empty() {
        conditions.add_text("principal", "=", &arguments.principal);
    }
    conditions.add_filter(&arguments.narrowed.filter);
    let filter = conditions.to_string();
    let read = pages::collect(arguments.limit, async |page_token, page_size| {
        let (parent, filter) = (parent.clone(), filter.clone());
        let request = pb::ListDenialsRequest { parent, page_token, page_size, filter, ..Default::default() };
        let page = session.client.list_denials(request).await?;
        Ok((page.denials, page.next_page_token))
    });
    let (mut denials, next_page_token) = read.await.context("failed to list who was refused")?;
    denials.sort_by_key(|denial| std::cmp::Reverse(denial.last_time.map(|time| (time.seconds, time.nanos))));
    let response = pb::ListDenialsResponse { denials, next_page_token };
    session.output.print(&response, table)?;
    pages::say_if_cut(session.output, response.denials.len(), &response.next_page_token, pages::HIGHER_LIMIT);
    Ok(())
}

fn table(response: &pb::ListDenialsResponse) -> String {
    let rows: Vec<Vec<String>> = response.denials.iter().map(row).collect();
    text::table(&["LAST", "COUNT", "PRINCIPAL", "RPC", "LACKED", "REASON", "FIRST"], &rows)
}

fn row(denial: &pb::Denial) -> Vec<String> {
    vec![
        text::time(denial.last_time.as_ref()),
        denial.count.to_string(),
        text::line(&denial.principal),
        text::line(denial.method.rsplit('/').next().unwrap_or_default()),
        text::line(&denial.permission),
        text::line(&denial.reason),
        text::time(denial.first_time.as_ref()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_who_lacked_what() {
        let denial = pb::Denial {
            principal: "local:ci\u{1b}[2J".to_owned(),
            method: "/policyhub.v1.PolicyService/Activate".to_owned(),
            reason: "PERMISSION_DENIED".to_owned(),
            permission: "activate".to_owned(),
            count: 3,
            first_time: Some(prost_types::Timestamp::default()),
            last_time: Some(prost_types::Timestamp { seconds: 60, nanos: 0 }),
        };
        let text = table(&pb::ListDenialsResponse { denials: vec![denial], ..Default::default() });
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "LAST                  COUNT  PRINCIPAL     RPC       LACKED    REASON             FIRST",
                "1970-01-01T00:01:00Z  3      local:ci [2J  Activate  activate  PERMISSION_DENIED  1970-01-01T00:00:00Z",
            ]
        );
    }
}
