//! `policyhub active`

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use crate::cli::commands::active_folder::SavedFolder;
use crate::cli::commands::{active_moves, active_pages, keys, releases};
use crate::cli::names::policy_of;
use crate::cli::names::{policy_id, policy_name, revision};
use crate::cli::output::document::{say, write_stdout};
use crate::cli::output::text;
use crate::cli::session::Session;
use crate::client::name::{NamespaceId, PolicyId, VersionName};
use crate::client::now_seconds;
use crate::client::pb;
use crate::client::pb::{get_active_request, list_active_request};
use crate::client::signing::KeySet;
use crate::client::{ListedOptions, ListedSet, StoreState, verify_saved};
use crate::domain::event::Cursor;

/// What is in force, now or as it was; of the past also who put it in force, and when
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  policyhub active --jwks keys.json --save out\n  \
                  policyhub active pricing --at-time 2026-01-02T03:04:05Z --save out\n  \
                  policyhub active --format active-releases > active_releases.json")]
pub struct ActiveArguments {
    /// Id of one policy [default: all of the namespace]
    #[arg(value_parser = policy_id)]
    policy: Option<PolicyId>,
    /// As it was right after this event
    #[arg(long, value_name = "REVISION", value_parser = revision, conflicts_with = "at_time")]
    at_revision: Option<Cursor>,
    /// As it was at this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = text::parse_time)]
    at_time: Option<prost_types::Timestamp>,
    /// The keys to trust, as a JWK Set: verify that this is what is in force, whole and new [default: verify nothing]
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Write content and manifest.jws to DIR/POLICY/ and what proves the set to DIR/set.json, for `policyhub verify DIR`; for
    /// one POLICY without --jwks its statement.jws instead of set.json
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Print a file that `policyhub activate --from` takes instead of a table: {"POLICY": "LABEL"}, JSON in either --output
    #[arg(long, value_enum, value_name = "FORM", conflicts_with = "policy")]
    format: Option<FileFormat>,
}

const NOTHING_VERIFIED: &str = "nothing was verified; give --jwks to verify what the server answers";

/// Forms for files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FileFormat {
    /// An object from the id of each policy to its label, or the number of a version without one
    ActiveReleases,
}

/// Runs the command.
pub async fn run(session: &Session, arguments: ActiveArguments) -> anyhow::Result<()> {
    let is_past = is_past(&arguments);
    match &arguments.policy {
        // A past set has no checkpoint: the statement of the activation proves the most.
        Some(policy) if arguments.jwks.is_none() || is_past => one(session, &arguments, policy).await,
        _ => set(session, &arguments).await,
    }
}

fn is_past(arguments: &ActiveArguments) -> bool {
    arguments.at_revision.is_some() || arguments.at_time.is_some()
}

/// Prints one policy, with the statement of its activation.
async fn one(session: &Session, arguments: &ActiveArguments, policy: &PolicyId) -> anyhow::Result<()> {
    let request = pb::GetActiveRequest {
        name: policy_name(&session.namespace, policy),
        at: arguments
            .at_revision
            .map(|at| get_active_request::At::Cursor(at.into()))
            .or(arguments.at_time.map(get_active_request::At::Time)),
        metadata_only: arguments.save.is_none() && arguments.jwks.is_none(),
        ..Default::default()
    };
    let mut response = session.client.get_active(request).await.context("failed to get what is active")?;
    let bundle = response.bundle.as_mut().context("answer has no bundle")?;
    let told = match &arguments.jwks {
        None => NOTHING_VERIFIED.to_owned(),
        Some(jwks) => {
            verify_one((bundle, &response.statement), &session.namespace, arguments, &keys::read_jwks(jwks)?)?
        }
    };
    if let Some(directory) = &arguments.save {
        save(directory, (bundle, &response.statement), &session.namespace, policy)?;
        say_saved(directory, 1);
    } else {
        bundle.content.clear();
    }
    say(&told);
    say_how_the_store_is(response.degraded, response.in_doubt);
    if is_past(arguments) {
        let bundles = response.bundle.as_slice();
        let moves = active_moves::read(session, bundles).await;
        return active_moves::print(session, &response, bundles, &moves, (HEADER, rows(bundles)));
    }
    session.output.print(&response, |response| table(response.bundle.as_slice()))
}

/// Verifies a past bundle and the statement that activated it. Returns what that proves.
fn verify_one(
    (bundle, statement): (&pb::Bundle, &str),
    namespace: &NamespaceId,
    asked: &ActiveArguments,
    keys: &KeySet,
) -> anyhow::Result<String> {
    let verified = verify_saved(&bundle.manifest, &bundle.content, Some(statement), keys);
    let (manifest, statement) = verified.context("failed to verify what was active")?;
    let is_same = (&manifest.namespace, Some(&manifest.policy)) == (namespace, asked.policy.as_ref())
        && manifest.version == bundle.version;
    anyhow::ensure!(is_same, "answer has another bundle than the one asked for");
    let statement = statement.context("answer has no statement")?;
    let is_later = asked.at_revision.is_some_and(|at| statement.revision > at.revision)
        || asked.at_time.is_some_and(|time| statement.iat > time.seconds);
    let at = format!("{}:{}", statement.epoch, statement.revision);
    anyhow::ensure!(!is_later, "answer came in force at {at}, after the moment asked for");
    Ok(format!("verified: it came in force at {at}; nothing proves that it still was then: it is of the past"))
}

/// Prints the whole set, or one policy of it, with its proofs.
async fn set(session: &Session, arguments: &ActiveArguments) -> anyhow::Result<()> {
    let policies = BTreeSet::from_iter(arguments.policy.clone());
    let request = pb::ListActiveRequest {
        parent: session.namespace.name(),
        at: arguments
            .at_revision
            .map(|at| list_active_request::At::Cursor(at.into()))
            .or(arguments.at_time.map(list_active_request::At::Time)),
        policies: policies.iter().map(ToString::to_string).collect(),
        metadata_only: arguments.save.is_none(),
        ..Default::default()
    };
    let is_past = request.at.is_some();
    let options = ListedOptions { policies: policies.clone(), has_content: arguments.save.is_some(), is_past };
    let keys = arguments.jwks.as_deref().map(keys::read_jwks).transpose()?;
    let mut verified = keys.map(|keys| ListedSet::new(session.namespace.clone(), keys, options));
    let mut folder = match &arguments.save {
        Some(directory) => Some(SavedFolder::begin(directory, &session.namespace, policies)?),
        None => None,
    };
    let each = |page: &pb::ListActiveResponse| {
        let is_later = |bundle: &pb::Bundle| {
            let revision = bundle.activation.map_or(0, |activation| activation.revision);
            arguments.at_revision.is_some_and(|asked| revision > asked.revision)
        };
        anyhow::ensure!(
            !page.bundles.iter().any(is_later),
            "answer has what came in force after the revision asked for"
        );
        if let Some(set) = &mut verified {
            set.take(page, now_seconds()).context("failed to verify what is active")?;
        }
        folder.as_mut().map_or(Ok(()), |folder| folder.add(&page.bundles))
    };
    let response = active_pages::collect(session, request, each).await?;
    if let (Some(policy), true) = (&arguments.policy, response.bundles.is_empty()) {
        anyhow::bail!("{policy} is not active, as the checkpoint proves");
    }
    say(&match &verified {
        None => NOTHING_VERIFIED.to_owned(),
        Some(_) if is_past => {
            "each bundle was verified; nothing proves that they were in force then, nor that these were all: it is of the past"
                .to_owned()
        }
        Some(set) if set.is_stale(now_seconds()) => {
            "verified and whole; something newer may be in force: the checkpoint has expired, or clocks differ"
                .to_owned()
        }
        Some(_) => match &arguments.policy {
            Some(policy) => format!("verified: {policy} is in force, and it is the newest"),
            None => "verified: whole, and the newest".to_owned(),
        },
    });
    if let Some(folder) = folder {
        let count = folder.finish(&response)?;
        say_saved(arguments.save.as_deref().unwrap_or(Path::new("")), count);
    }
    say_how_the_store_is(response.degraded, response.in_doubt);
    if arguments.format == Some(FileFormat::ActiveReleases) {
        return write_stdout(releases::write(&releases::of_active(&response.bundles)?).as_bytes());
    }
    if is_past {
        let moves = active_moves::read(session, &response.bundles).await;
        let shown = (HEADER, rows(&response.bundles));
        return active_moves::print(session, &response, &response.bundles, &moves, shown);
    }
    session.output.print(&response, |response| table(&response.bundles))
}

fn say_how_the_store_is(is_degraded: bool, is_in_doubt: bool) {
    if let Some(problem) = (StoreState { is_degraded, is_in_doubt }).problem() {
        say(problem);
    }
}

fn say_saved(directory: &Path, count: usize) {
    say(&format!("bundles saved to {}: {count}", directory.display()));
}

const HEADER: &[&str] = &["POLICY", "VERSION", "LABEL", "DIGEST", "SINCE REVISION"];

fn table(bundles: &[pb::Bundle]) -> String {
    text::table(HEADER, &rows(bundles))
}

fn rows(bundles: &[pb::Bundle]) -> Vec<Vec<String>> {
    bundles
        .iter()
        .map(|bundle| {
            vec![
                policy_of(&bundle.name).to_owned(),
                bundle.version.to_string(),
                bundle.label.clone(),
                text::digest(&bundle.digest),
                bundle.activation.map_or_else(|| "preview".to_owned(), |activation| activation.revision.to_string()),
            ]
        })
        .collect()
}

/// Writes one bundle below `directory`. The name comes from the server: only a valid id becomes a path.
fn save(
    directory: &Path,
    (bundle, statement): (&pb::Bundle, &str),
    namespace: &NamespaceId,
    policy: &PolicyId,
) -> anyhow::Result<()> {
    let name = VersionName::parse("name", &bundle.name).context("answer has a name that can't be")?;
    let is_asked_for = name.policy.namespace == *namespace && *policy == name.policy.policy;
    anyhow::ensure!(is_asked_for, "answer has {}, which nobody asked for", text::line(&bundle.name));
    let directory = directory.join(name.policy.policy.as_str());
    fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    let proven = [("content", bundle.content.as_ref()), ("manifest.jws", bundle.manifest.as_bytes())];
    // A preview has no statement.
    let stated = (!statement.is_empty()).then_some(("statement.jws", statement.as_bytes()));
    for (file, bytes) in proven.into_iter().chain(stated) {
        let path = directory.join(file);
        fs::write(&path, bytes).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(name: &str) -> pb::Bundle {
        pb::Bundle {
            name: name.to_owned(),
            version: 3,
            content: b"content"[..].into(),
            manifest: "m".to_owned(),
            activation: Some(pb::Cursor { epoch: 1, revision: 7, fingerprint: 0 }),
            ..Default::default()
        }
    }

    fn pricing() -> PolicyId {
        PolicyId::parse("policy", "pricing").expect("an id")
    }

    fn default() -> NamespaceId {
        NamespaceId::parse("namespace", "default").expect("an id")
    }

    #[test]
    fn a_bundle_is_saved_with_its_proof() {
        let directory = tempfile::tempdir().expect("a directory");
        save(
            directory.path(),
            (&active("namespaces/default/policies/pricing/versions/3"), "s"),
            &default(),
            &pricing(),
        )
        .expect("saved");
        let read = |file: &str| fs::read_to_string(directory.path().join("pricing").join(file)).expect(file);
        assert_eq!([read("content"), read("manifest.jws"), read("statement.jws")], ["content", "m", "s"]);
    }

    #[test]
    fn a_name_can_not_lead_out_of_the_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["namespaces/default/policies/../versions/3", "namespaces/a/policies/b/../../versions/3", ""] {
            assert!(save(directory.path(), (&active(name), "s"), &default(), &pricing()).is_err(), "{name}");
        }
        for name in ["namespaces/other/policies/pricing/versions/3", "namespaces/default/policies/limits/versions/3"] {
            let refused = save(directory.path(), (&active(name), "s"), &default(), &pricing()).expect_err(name);
            assert!(refused.to_string().contains("nobody asked for"), "{refused}");
        }
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 0);
    }

    #[test]
    fn the_table_says_since_when() {
        let text = table(&[active("namespaces/default/policies/pricing/versions/3")]);
        let words: Vec<&str> = text.lines().nth(1).expect("a row").split_whitespace().collect();
        assert_eq!(words, ["pricing", "3", "7"]);
    }
}
