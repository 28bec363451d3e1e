//! The identity providers as the operator writes them: tables of the file, or one JSON array in a flag or a variable.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::auth::TokenAlgorithm;

/// All issuers, as one value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IssuerList(pub(super) Vec<IssuerSettings>);

/// One issuer, as the operator writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerSettings {
    pub(super) name: String,
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) jwks: String,
    pub(super) algorithms: Option<Vec<TokenAlgorithm>>,
    #[serde(default)]
    pub(super) allow_typ_jwt: bool,
    pub(super) subject_claim: Option<String>,
    pub(super) groups_claim: Option<String>,
    pub(super) ca_cert: Option<PathBuf>,
    pub(super) jwks_refresh_seconds: Option<u64>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret_file: Option<PathBuf>,
    pub(super) scope: Option<String>,
}

impl FromStr for IssuerList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text).map_err(|error| format!("is not a JSON array of issuers: {error}"))
    }
}
