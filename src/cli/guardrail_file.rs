//! Reads guardrails from a file: YAML or JSON with a list `guardrails`.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::checks;
use crate::cli::content;
use crate::domain::guardrail::{Guardrail, check_guardrails};
use crate::domain::policy::PolicyKind;

/// Largest file: a set of the largest size, each character escaped.
const FILE_MAX_BYTES: usize = 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardrailFile {
    guardrails: Vec<Guardrail>,
}

/// Reads the guardrails of a file.
///
/// # Errors
/// The file can't be read, is not of this form, or has a guardrail that no set may have.
pub fn read(path: &Path) -> anyhow::Result<Vec<Guardrail>> {
    let shown = path.display();
    let bytes = content::read_at_most(path, FILE_MAX_BYTES, "the file of guardrails")?;
    let parsed = checks::parse(PolicyKind::Yaml, &bytes);
    let document = parsed
        .map_err(|failure| anyhow::anyhow!("{shown}:{}:{}: {}", failure.line, failure.column, failure.message))?
        .map(|document| document.value)
        .unwrap_or_default();
    let file: GuardrailFile =
        serde_json::from_value(document).with_context(|| format!("{shown} is no file of guardrails"))?;
    check_guardrails("guardrails", &file.guardrails).map_err(|error| anyhow::anyhow!("{shown}: {}", error.message))?;
    Ok(file.guardrails)
}
