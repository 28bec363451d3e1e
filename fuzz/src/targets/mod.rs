//! One target per file: `check` takes any bytes, `seeds` returns inputs that reach deep into the code.

pub mod active_set;
pub mod files;
pub mod filter;
pub mod json_check;
pub mod jwks;
pub mod jws_verify;
pub mod keys;
pub mod name;
pub mod page_token;
pub mod resume;
pub mod set_proof;
pub mod statement;
pub mod token;
pub mod yaml_check;

/// A target with its name.
#[derive(Debug, Clone, Copy)]
pub struct FuzzTarget {
    /// The name of its binary and of its corpus.
    pub name: &'static str,
    /// Panics when the input violates an invariant.
    pub check: fn(&[u8]),
    /// Returns initial inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [FuzzTarget; 13] = [
    FuzzTarget { name: "active_set", check: active_set::check, seeds: active_set::seeds },
    FuzzTarget { name: "files", check: files::check, seeds: files::seeds },
    FuzzTarget { name: "filter", check: filter::check, seeds: filter::seeds },
    FuzzTarget { name: "jwks", check: jwks::check, seeds: jwks::seeds },
    FuzzTarget { name: "json_check", check: json_check::check, seeds: json_check::seeds },
    FuzzTarget { name: "jws_verify", check: jws_verify::check, seeds: jws_verify::seeds },
    FuzzTarget { name: "name", check: name::check, seeds: name::seeds },
    FuzzTarget { name: "page_token", check: page_token::check, seeds: page_token::seeds },
    FuzzTarget { name: "resume", check: resume::check, seeds: resume::seeds },
    FuzzTarget { name: "set_proof", check: set_proof::check, seeds: set_proof::seeds },
    FuzzTarget { name: "statement", check: statement::check, seeds: statement::seeds },
    FuzzTarget { name: "token", check: token::check, seeds: token::seeds },
    FuzzTarget { name: "yaml_check", check: yaml_check::check, seeds: yaml_check::seeds },
];

/// Returns texts as inputs.
fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
