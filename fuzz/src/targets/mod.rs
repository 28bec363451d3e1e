//! One target per file: `check` takes any bytes, `seeds` are inputs that reach far, to begin with.

pub mod active_set;
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

/// A target by its name.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its binary and of its corpus.
    pub name: &'static str,
    /// Panics where the input breaks what must hold.
    pub check: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    Target { name: "active_set", check: active_set::check, seeds: active_set::seeds },
    Target { name: "filter", check: filter::check, seeds: filter::seeds },
    Target { name: "jwks", check: jwks::check, seeds: jwks::seeds },
    Target { name: "json_check", check: json_check::check, seeds: json_check::seeds },
    Target { name: "jws_verify", check: jws_verify::check, seeds: jws_verify::seeds },
    Target { name: "name", check: name::check, seeds: name::seeds },
    Target { name: "page_token", check: page_token::check, seeds: page_token::seeds },
    Target { name: "resume", check: resume::check, seeds: resume::seeds },
    Target { name: "set_proof", check: set_proof::check, seeds: set_proof::seeds },
    Target { name: "statement", check: statement::check, seeds: statement::seeds },
    Target { name: "token", check: token::check, seeds: token::seeds },
    Target { name: "yaml_check", check: yaml_check::check, seeds: yaml_check::seeds },
];

/// Texts as inputs.
fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
