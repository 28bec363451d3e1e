//! Imports the items of an archive, one by one: each is proven by those before it, then written as this store's own rows.
//!
//! Invariant: numbers, labels, authors and times are the source's; the key that signs a manifest is this store's.

use bytes::Bytes;

use super::import_source::{refused, trust_of};
use super::use_cases::Archive;
use crate::domain::event::{Change, Event, Head, VersionChange};
use crate::domain::import::{ArchiveItem, Import};
use crate::domain::label::Label;
use crate::domain::lifecycle::check_note;
use crate::domain::limits::{
    APPROVALS_PER_VERSION_MAX, CONTENT_TYPE_MAX_CHARS, IMPORT_POSITIONS_MAX, REQUIRES_MAX, SCHEMA_MAX_BYTES,
};
use crate::domain::name::{NamespaceId, PolicyName};
use crate::domain::policy::{ImportedPolicy, Policy};
use crate::domain::principal::imported_identity;
use crate::domain::report::Report;
use crate::domain::time::Micros;
use crate::domain::version::{Version, VersionState};
use crate::domain::{Error, Reason, Result};
use crate::service::context::Context;
use crate::service::log::Write;
use crate::signing::chain::LogCheck;
use crate::signing::digest_of;
use crate::signing::payload::Origin;
use crate::store::{ArchivedRow, read_row};

/// The last time that the API can express: the end of the year 9999.
const TIME_MAX_MICROS: i64 = 253_402_300_799_999_999;

/// The state of an import, and the change that its next part makes.
pub(super) struct ImportState<'a> {
    pub(super) imports: &'a mut Vec<Import>,
    pub(super) log: Option<&'a LogCheck>,
    pub(super) change: &'a mut Change,
}

/// Imports items in their order.
pub(super) async fn import_items(
    archive: &Archive,
    context: &Context,
    write: &mut Write<'_>,
    items: Vec<ArchiveItem>,
    mut state: ImportState<'_>,
) -> Result<()> {
    let mut items = items.into_iter().peekable();
    while let Some(item) = items.next() {
        match item {
            ArchiveItem::Event(position, event) => {
                let mut run = vec![event];
                while let Some(ArchiveItem::Event(_, next)) =
                    items.next_if(|next| matches!(next, ArchiveItem::Event(other, _) if *other == position))
                {
                    run.push(next);
                }
                let import = state.imports.iter_mut().find(|import| import.position == position);
                let import = import.ok_or_else(|| refused(format!("no history {position} is known")))?;
                for event in &mut run {
                    event.namespace = import.source.namespace.clone();
                }
                prove_events(import, &run)?;
                write.tx.insert_imported_events(position, &run).await?;
            }
            ArchiveItem::Row(bytes) => {
                let row = parse_proven_row(require_log(state.log)?, &bytes)?;
                import_row(archive, write, &mut state, row).await?;
            }
            ArchiveItem::Version { row: bytes, manifest, content } => {
                let log = require_log(state.log)?;
                let ArchivedRow::Version(version) = parse_proven_row(log, &bytes)? else {
                    return Err(refused("a version is a row of another table"));
                };
                let foreign = ForeignVersion { version: *version, bytes, manifest, content };
                import_version(archive, context, write, &mut state, log, foreign).await?;
            }
        }
    }
    Ok(())
}

fn require_log(log: Option<&LogCheck>) -> Result<&LogCheck> {
    log.ok_or_else(|| refused("rows come after all events"))
}

/// Returns a row that the log of the source proves and that this schema can keep.
fn parse_proven_row(log: &LogCheck, bytes: &[u8]) -> Result<ArchivedRow> {
    log.proven_row(bytes).map_err(refused)?;
    read_row(bytes)
        .map_err(|error| refused(format!("a row can't be read: {}", error.internal.unwrap_or(error.message))))
}

/// Verifies events that follow those that were imported, up to the head and not beyond.
fn prove_events(import: &mut Import, events: &[Event]) -> Result<()> {
    let source = &import.source;
    let mut check = LogCheck::after(trust_of(source)?, source.namespace.clone(), import.reached);
    for event in events {
        check.event(event);
        if let Some(finding) = check.findings.kept.first() {
            return Err(refused(format!("event {}: {}", finding.revision, finding.message)));
        }
        let head = Head { cursor: event.cursor, hash: event.hash };
        let at_end = event.cursor.revision >= source.head.cursor.revision;
        if at_end && head != source.head {
            return Err(refused(format!("event {} is not the head that was named", event.cursor.revision)));
        }
        import.reached = head;
    }
    Ok(())
}

async fn import_row(
    archive: &Archive,
    write: &mut Write<'_>,
    state: &mut ImportState<'_>,
    row: ArchivedRow,
) -> Result<()> {
    match row {
        ArchivedRow::Policy(policy) => import_policy(archive, write, policy, state.change).await,
        ArchivedRow::Report { policy, number, report } => import_report(write, policy, number, report).await,
        ArchivedRow::Import(_, import) => {
            archive.check_source(&import.source)?;
            let import = nested_import(write.time(), state.imports, *import)?;
            write.tx.put_import(&import).await?;
            state.imports.push(import);
            state.imports.sort_by_key(|import| import.position);
            Ok(())
        }
        ArchivedRow::Version(_) => Err(refused("a version came without its manifest and content")),
    }
}

async fn import_policy(archive: &Archive, write: &mut Write<'_>, policy: Policy, change: &mut Change) -> Result<()> {
    let name = PolicyName { namespace: write.namespace().clone(), policy: policy.name.policy.clone() };
    check_note("description", &policy.description)?;
    check_times(&[Some(policy.create_time), Some(policy.update_time)])?;
    let settings = &policy.settings;
    let required = usize::try_from(settings.required_approvals).unwrap_or(usize::MAX);
    if required > APPROVALS_PER_VERSION_MAX || policy.latest_version < 0 || policy.edits < 0 {
        return Err(refused(format!("{name} has settings that no policy can have")));
    }
    if write.tx.read().find_policy(&name).await?.is_some() {
        return Err(refused(format!("{name} is there twice")));
    }
    let policy = Policy { name, ..policy };
    change.imported.push(ImportedPolicy::from(&policy));
    archive.meters.insert_policy(&mut write.tx, &policy).await
}

async fn import_report(write: &Write<'_>, policy: PolicyName, number: i64, report: Report) -> Result<()> {
    let name = PolicyName { namespace: write.namespace().clone(), ..policy };
    let version = write.tx.read().find_version(&name, number).await?;
    let is_of =
        version.is_some_and(|version| version.state == VersionState::Published && version.digest == report.digest);
    if !is_of {
        return Err(refused(format!("the report of {} is of no published version", name.version(number))));
    }
    check_times(&[Some(report.time)])?;
    match write.tx.read().report(&name, number).await {
        // This store decides by its own rules whether the report is current.
        Err(error) if error.reason == Reason::ReportNotFound => {
            write.tx.put_report(&name, number, &Report { rules: String::new(), ..report }).await
        }
        Err(error) => Err(error),
        Ok(_) => Err(refused(format!("the report of {} is there twice", name.version(number)))),
    }
}

/// Returns a history that the source itself had imported: here its position is one higher.
fn nested_import(now: Micros, imports: &[Import], import: Import) -> Result<Import> {
    let position = import.position.checked_add(1).filter(|position| (2..=IMPORT_POSITIONS_MAX).contains(position));
    let position = position.ok_or_else(|| refused("it came through more stores than one history can"))?;
    if imports.iter().any(|known| known.position == position) {
        return Err(refused(format!("history {position} is there twice")));
    }
    if !import.is_finished {
        return Err(refused("the source had not finished its own import"));
    }
    check_times(&[Some(import.create_time)])?;
    let (reached, update_time) = (Head::EMPTY, now);
    Ok(Import { position, reached, items: 0, is_finished: false, update_time, ..import })
}

/// A version of another store, with the data beside its row.
struct ForeignVersion {
    version: Version,
    bytes: Bytes,
    manifest: String,
    content: Option<Bytes>,
}

async fn import_version(
    archive: &Archive,
    context: &Context,
    write: &mut Write<'_>,
    state: &mut ImportState<'_>,
    log: &LogCheck,
    foreign: ForeignVersion,
) -> Result<()> {
    let ForeignVersion { version, bytes, manifest, content } = foreign;
    let row = log.proven_row(&bytes).map_err(refused)?;
    let signed = log.proven_manifest(&row, &manifest);
    let signed = signed.map_err(|problem| refused(format!("{}: {problem}", version.name())))?;
    let origin = version.origin_manifests.first().map(|origin| digest_of(origin.as_bytes()));
    if let Some(signed) = &signed
        && signed.origin.as_ref().map(|origin| &origin.manifest) != origin.as_ref()
    {
        return Err(refused(format!("{}: its manifest names another origin", version.name())));
    }
    let source = state.imports.first().map(|import| import.source.store.as_str()).unwrap_or_default();
    let mut version = localize(write, source, version);
    check_version(archive, write, &version).await?;
    import_content(archive, write, &version, content).await?;
    if let Some(signed) = signed {
        let origin = Origin {
            store: signed.store,
            namespace: signed.namespace.to_string(),
            manifest: digest_of(manifest.as_bytes()),
        };
        version.origin_manifests.insert(0, manifest);
        // With `validate_only` nothing is signed: the signature would stay valid.
        if !context.options.validate_only {
            version.manifest = archive.log.signer.imported_manifest(&version, origin, write.time())?;
        }
    }
    archive.meters.admit_new_version(&write.tx, &version)?;
    write.tx.insert_version(&version).await?;
    state.change.versions.push(VersionChange {
        policy: version.policy.policy.clone(),
        version: version.number,
        state: version.state,
        digest: version.digest.clone(),
        adopted: version.adopted.clone(),
    });
    Ok(())
}

/// Returns the version as this store keeps it. One that was staged there becomes a draft here, because it must pass today's checks of this
/// store. Its author and publisher stay foreign identities: only those whom this store authenticated are signed as its own.
fn localize(write: &Write<'_>, source: &str, version: Version) -> Version {
    let policy = PolicyName { namespace: write.namespace().clone(), policy: version.policy.policy.clone() };
    let (state, stage_time) = match version.state {
        VersionState::Staged => (VersionState::Draft, None),
        state => (state, version.stage_time),
    };
    let [author, publisher] = [&version.author, &version.publisher].map(|who| imported_identity(source, who));
    Version { policy, state, stage_time, author, publisher, manifest: String::new(), ..version }
}

async fn check_version(archive: &Archive, write: &Write<'_>, version: &Version) -> Result<()> {
    let name = version.name();
    let tx = write.tx.read();
    let policy = tx.find_policy(&version.policy).await?;
    let policy = policy.ok_or_else(|| refused(format!("{name} came before its policy")))?;
    if !(1..=policy.latest_version).contains(&version.number) {
        return Err(refused(format!("{name}: the policy never gave this number")));
    }
    check_note("change_note", &version.change_note)?;
    let texts = [&version.content_type, &version.author, &version.publisher];
    let is_text = texts.iter().all(|text| check_note("text", text).is_ok());
    let in_bounds = version.content_type.chars().count() <= CONTENT_TYPE_MAX_CHARS
        && version.requires.len() <= REQUIRES_MAX
        && version.origin_manifests.len() < usize::try_from(IMPORT_POSITIONS_MAX).unwrap_or_default()
        && (0..=i64::try_from(archive.content_max_bytes).unwrap_or(i64::MAX)).contains(&version.size_bytes)
        && [version.base_version, version.source_version, version.edits].iter().all(|number| *number >= 0);
    if !is_text || !in_bounds {
        return Err(refused(format!("{name} has fields that this server does not accept")));
    }
    check_times(&[Some(version.create_time), version.stage_time, version.publish_time])?;
    if (version.state == VersionState::Published) != version.publish_time.is_some() {
        return Err(refused(format!("{name}: its state and its times don't fit")));
    }
    if tx.find_version(&version.policy, version.number).await?.is_some() {
        return Err(refused(format!("{name} is there twice")));
    }
    let is_live = version.state.is_open() || version.state == VersionState::Published;
    if let Some(label) = version.label.as_ref().filter(|_| is_live) {
        check_label(write, version, label).await?;
    }
    Ok(())
}

async fn check_label(write: &Write<'_>, version: &Version, label: &Label) -> Result<()> {
    match write.tx.read().find_labelled(&version.policy, label).await? {
        None => Ok(()),
        Some(other) => Err(refused(format!("{} has the label of {}", version.name(), other.name()))),
    }
}

/// Writes a content. Without its bytes, this namespace must already have it: a digest alone must not give access to the content of another
/// namespace.
async fn import_content(archive: &Archive, write: &Write<'_>, version: &Version, content: Option<Bytes>) -> Result<()> {
    let Some(content) = content else {
        let size = write.tx.read().size_of_content(write.namespace(), &version.digest).await?;
        return match size {
            Some(size) if size == version.size_bytes => Ok(()),
            _ => Err(refused(format!("{} came without its content", version.name()))),
        };
    };
    if content.len() > archive.content_max_bytes {
        let message = format!("{}: its content is over {} bytes", version.name(), archive.content_max_bytes);
        return Err(Error::new(Reason::ContentTooLarge, message));
    }
    if digest_of(&content) != version.digest || i64::try_from(content.len()) != Ok(version.size_bytes) {
        return Err(refused(format!("{}: its content is not the one that its row names", version.name())));
    }
    write.tx.insert_content(&version.digest, &content).await
}

fn check_times(times: &[Option<Micros>]) -> Result<()> {
    let in_range = times.iter().flatten().all(|time| (0..=TIME_MAX_MICROS).contains(&time.0));
    if in_range { Ok(()) } else { Err(refused("a time is not between the years 1970 and 9999")) }
}

impl Archive {
    /// Checks the schemas of policies before anything is locked. Rows that the log does not prove are refused later.
    pub(super) async fn check_schemas(&self, namespace: &NamespaceId, items: &[ArchiveItem]) -> Result<()> {
        for item in items {
            let ArchiveItem::Row(bytes) = item else { continue };
            let Ok(ArchivedRow::Policy(policy)) = read_row(bytes) else { continue };
            let schema = &policy.settings.json_schema;
            if schema.len() > SCHEMA_MAX_BYTES {
                return Err(refused(format!("{}: its schema is over {SCHEMA_MAX_BYTES} bytes", policy.name)));
            }
            self.checks.contents.check_schema(namespace, schema).await?;
        }
        Ok(())
    }
}
