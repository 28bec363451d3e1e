//! `policyhub activate --from FILE`: makes the active set exactly what a file lists, in one activation.
//!
//! Invariant: the change that is shown is the one that is made. The server refuses when any pointer of the namespace moved after
//! the set was read for the comparison.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::cli::arguments::MutationArguments;
use crate::cli::commands::releases::{Releases, listed};
use crate::cli::commands::{active_pages, releases};
use crate::cli::names::version_name;
use crate::cli::output::activation::print_activation;
use crate::cli::output::document::{Format, say, say_lines, to_json};
use crate::cli::output::terminal_style::TerminalStyle;
use crate::cli::output::text::Release;
use crate::cli::output::{terminal_style, text};
use crate::cli::session::Session;
use crate::client::name::{PolicyId, VersionRef};
use crate::client::pb::activate_target::To;
use crate::client::{ACTIVATION_TARGETS_MAX, ClientError, pb};
use crate::domain::counted_noun::counted_noun;

/// Most concurrent lookups of versions.
const LOOKUPS_MAX: usize = 8;

/// A pointer to move or remove.
#[derive(Debug, PartialEq, Eq)]
struct PlannedMove {
    policy: PolicyId,
    from: Option<Release>,
    to: Option<Release>,
}

/// The differences between a file and the active set.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    /// Policies that get another version, by label or number.
    wanted: Vec<(PolicyId, VersionRef)>,
    /// Policies that are active and not in the file.
    removed: Vec<PolicyId>,
    unchanged: usize,
}

/// Makes the active set that of `file`.
pub async fn run(
    session: &Session,
    file: &Path,
    reason: &str,
    skip_validation: bool,
    mutation: &MutationArguments,
) -> anyhow::Result<()> {
    let releases = releases::read(file)?;
    let request = pb::ListActiveRequest { parent: session.namespace.name(), metadata_only: true, ..Default::default() };
    let response = active_pages::collect(session, request, |_| Ok(())).await?;
    let active = releases::of_active(&response.bundles)?;
    anyhow::ensure!(
        active.is_empty() || !releases.is_empty(),
        "{} names no policy, and {} active: to end them, `{}` each",
        file.display(),
        counted_noun(active.len(), "is", "are"),
        session.commands.command("deactivate POLICY")
    );
    let difference = compare(&releases, &active);
    let count = difference.wanted.len() + difference.removed.len();
    anyhow::ensure!(
        count <= ACTIVATION_TARGETS_MAX,
        "{count} policies differ, and one activation changes {ACTIVATION_TARGETS_MAX} at most: activate some of them \
         first with `{}`, then the file",
        session.commands.command("activate POLICY@vLABEL …")
    );
    let found = resolve(session, &difference.wanted).await?;
    let moves = moves(&difference, found, active);
    if session.output == Format::Text {
        say_lines(shown(&moves, difference.unchanged, TerminalStyle::stderr()).trim_end());
    }
    let request_id = mutation.request_id();
    let answer = if moves.is_empty() {
        pb::ActivateResponse::default()
    } else {
        let request = pb::ActivateRequest {
            parent: session.namespace.name(),
            targets: moves.iter().map(target).collect(),
            reason: reason.to_owned(),
            request_id: request_id.clone(),
            validate_only: mutation.validate_only,
            unmoved_since: response.cursor,
            skip_validation,
        };
        session.client.activate(request).await.context("failed to activate")?
    };
    match session.output {
        Format::Text if moves.is_empty() => say("nothing to change: what is active is what the file says"),
        Format::Text => print_activation(session, &answer, &request_id, mutation.validate_only)?,
        Format::Json | Format::Yaml | Format::Sarif => {
            let mut document = to_json(&answer)?;
            if let Value::Object(fields) = &mut document {
                fields.insert("request_id".to_owned(), Value::from(request_id));
                fields.insert("difference".to_owned(), as_json(&moves, difference.unchanged));
            }
            session.output.print_document(&document)?;
        }
    }
    Ok(())
}

/// Returns the differences. An active version is the wanted one when its label or its number is.
fn compare(releases: &Releases, active: &BTreeMap<PolicyId, Release>) -> Difference {
    let mut difference = Difference::default();
    for (policy, wanted) in releases {
        let is_active = active.get(policy).is_some_and(|active| match wanted {
            VersionRef::Number(number) => active.version == *number,
            VersionRef::Label(label) => active.label == label.to_string(),
            VersionRef::Active | VersionRef::Latest => false,
        });
        if is_active {
            difference.unchanged += 1;
        } else {
            difference.wanted.push((policy.clone(), wanted.clone()));
        }
    }
    difference.removed = active.keys().filter(|policy| !releases.contains_key(policy)).cloned().collect();
    difference
}

/// Returns the wanted versions, in order. All that are missing or can't be activated are reported at once.
async fn resolve(session: &Session, wanted: &[(PolicyId, VersionRef)]) -> anyhow::Result<Vec<Release>> {
    let lookups = wanted.iter().map(async |(policy, version)| {
        let name = version_name(&session.namespace, policy, version);
        let request = pb::GetVersionRequest { name, view: pb::VersionView::Basic.into() };
        match session.client.get_version(request).await {
            Ok(response) => Ok(release(policy, version, &response.version.unwrap_or_default())),
            Err(error) if is_absent(&error) => Ok(Err(format!("{policy}@{version}: does not exist"))),
            Err(error) => Err(error),
        }
    });
    let found: Vec<Result<Release, String>> = stream::iter(lookups).buffered(LOOKUPS_MAX).try_collect().await?;
    let (found, wrong): (Vec<_>, Vec<_>) = found.into_iter().partition(Result::is_ok);
    let wrong: Vec<String> = wrong.into_iter().filter_map(Result::err).collect();
    anyhow::ensure!(wrong.is_empty(), "the file can't be activated: {}", listed(&wrong));
    Ok(found.into_iter().flatten().collect())
}

fn is_absent(error: &ClientError) -> bool {
    matches!(error.reason(), "POLICY_NOT_FOUND" | "VERSION_NOT_FOUND")
}

fn release(policy: &PolicyId, wanted: &VersionRef, version: &pb::Version) -> Result<Release, String> {
    if version.state() == pb::VersionState::Published {
        return Ok(Release { version: version.version, label: version.label.clone() });
    }
    let state = text::state(version.state);
    Err(format!("{policy}@{wanted}: is {state}, and only what is published can be activated"))
}

/// Returns every change, in order of the policies.
fn moves(difference: &Difference, found: Vec<Release>, mut active: BTreeMap<PolicyId, Release>) -> Vec<PlannedMove> {
    let wanted = difference.wanted.iter().map(|(policy, _)| policy.clone()).zip(found.into_iter().map(Some));
    let removed = difference.removed.iter().map(|policy| (policy.clone(), None));
    let mut moves: Vec<PlannedMove> =
        wanted.chain(removed).map(|(policy, to)| PlannedMove { from: active.remove(&policy), policy, to }).collect();
    // A number and a label may name the same version: then nothing moves.
    moves.retain(|each| each.from.as_ref().map(|it| it.version) != each.to.as_ref().map(|it| it.version));
    moves.sort_by(|one, other| one.policy.cmp(&other.policy));
    moves
}

fn target(each: &PlannedMove) -> pb::ActivateTarget {
    let to = each.to.as_ref().map_or(To::None(()), |release| To::Version(release.version));
    let from = each.from.as_ref().map_or(0, |release| release.version);
    pb::ActivateTarget { policy: each.policy.to_string(), to: Some(to), expected_active: Some(from) }
}

/// Returns `pricing  1.4.0 -> 1.5.0`, one line each, and the number of unchanged policies.
fn shown(moves: &[PlannedMove], unchanged: usize, style_of: TerminalStyle) -> String {
    let release = |release: &Option<Release>| release.as_ref().map_or_else(|| "-".to_owned(), text::release);
    let width = moves.iter().map(|each| each.policy.as_str().len()).max().unwrap_or_default();
    let before = moves.iter().map(|each| release(&each.from).len()).max().unwrap_or_default();
    let mut text = String::new();
    for each in moves {
        let style = match (&each.from, &each.to) {
            (_, None) => terminal_style::BAD,
            (None, _) => terminal_style::GOOD,
            _ => terminal_style::HEADING,
        };
        let (policy, from) = (text::padded(each.policy.as_str(), width), text::padded(&release(&each.from), before));
        let line = format!("{policy}  {from} -> {}", release(&each.to));
        text.push_str(&style_of.paint(style, &line));
        text.push('\n');
    }
    text.push_str(&format!("{} to change, {unchanged} as they are\n", moves.len()));
    text
}

fn as_json(moves: &[PlannedMove], unchanged: usize) -> Value {
    let release = |release: &Option<Release>| match release {
        Some(release) => json!({ "version": release.version, "label": release.label }),
        None => Value::Null,
    };
    let change = |each: &PlannedMove| json!({ "policy": each.policy.as_str(), "from": release(&each.from), "to": release(&each.to) });
    json!({ "changes": moves.iter().map(change).collect::<Vec<_>>(), "unchanged": unchanged })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(id: &str) -> PolicyId {
        PolicyId::parse("policy", id).expect("an id")
    }

    fn release(version: i64, label: &str) -> Release {
        Release { version, label: label.to_owned() }
    }

    fn wanted(entries: &[(&str, &str)]) -> Releases {
        entries.iter().map(|(id, text)| (policy(id), VersionRef::parse("version", text).expect("a version"))).collect()
    }

    #[test]
    fn only_what_differs_moves() {
        let active = BTreeMap::from([
            (policy("gone"), release(1, "1.0.0")),
            (policy("labelled"), release(2, "1.1.0")),
            (policy("numbered"), release(3, "")),
            (policy("pricing"), release(4, "1.4.0")),
        ]);
        let file = wanted(&[("labelled", "v1.1.0"), ("new", "v2.0.0"), ("numbered", "3"), ("pricing", "v1.5.0")]);
        let difference = compare(&file, &active);
        let ids: Vec<&str> = difference.wanted.iter().map(|(policy, _)| policy.as_str()).collect();
        assert_eq!((ids, difference.unchanged), (vec!["new", "pricing"], 2));
        let moves = moves(&difference, vec![release(1, "2.0.0"), release(5, "1.5.0")], active);
        assert_eq!(
            shown(&moves, difference.unchanged, TerminalStyle::PLAIN),
            "gone     1.0.0 -> -\nnew      -     -> 2.0.0\npricing  1.4.0 -> 1.5.0\n3 to change, 2 as they are\n"
        );
        let targets: Vec<(Option<To>, Option<i64>)> =
            moves.iter().map(target).map(|each| (each.to, each.expected_active)).collect();
        assert_eq!(
            targets,
            [(Some(To::None(())), Some(1)), (Some(To::Version(1)), Some(0)), (Some(To::Version(5)), Some(4))]
        );
        assert_eq!(
            as_json(&moves, 2)["changes"][0],
            json!({ "policy": "gone", "from": { "version": 1, "label": "1.0.0" }, "to": null })
        );
    }

    #[test]
    fn a_number_of_what_is_active_moves_nothing() {
        let active = BTreeMap::from([(policy("p"), release(2, "1.1.0"))]);
        assert_eq!(compare(&wanted(&[("p", "2")]), &active), Difference { unchanged: 1, ..Difference::default() });
    }

    #[test]
    fn what_is_not_published_is_not_activated() {
        let staged = pb::Version { version: 3, state: pb::VersionState::Staged.into(), ..Default::default() };
        let error = super::release(&policy("p"), &VersionRef::Number(3), &staged).expect_err("refused");
        assert_eq!(error, "p@3: is STAGED, and only what is published can be activated");
    }
}
