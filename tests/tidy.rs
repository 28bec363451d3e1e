//! The house rules a compiler cannot see: layers, allow-lists, lengths, headers, names, references, private paths, documented reasons.
//!
//! The tables here are the one place where the layers of docs/ARCHITECTURE.md and the crates each may name are written for a machine. Rules
//! are in `tests/tidy/`, each with a test that proves it fires. Reads the tree, changes nothing.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of it is a test: to stop with a message is what it is for"
)]

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/citations.rs"]
mod citations;
#[path = "tidy/defects.rs"]
mod defects;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/named_code.rs"]
mod named_code;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;

use imports::{AllowList, Module};
use source::Source;

/// Modules and what each may import, lowest layer first. `domain` is layer 0: everyone above it may.
const MODULES: &[Module] = &[
    Module { name: "domain", may_import: &[] },
    Module { name: "api", may_import: &["domain"] },
    Module { name: "signing", may_import: &["domain"] },
    Module { name: "checks", may_import: &["domain"] },
    Module { name: "auth", may_import: &["domain"] },
    Module { name: "store", may_import: &["defect", "domain"] },
    Module { name: "watch", may_import: &["defect", "domain", "store"] },
    Module { name: "service", may_import: &["defect", "domain", "signing", "checks", "store", "watch"] },
    Module { name: "transport", may_import: &["domain"] },
    Module { name: "grpc", may_import: &["domain", "api", "auth", "service", "transport"] },
    Module { name: "http", may_import: &["domain", "api", "auth", "service"] },
    Module {
        name: "server",
        may_import: &[
            "defect",
            "domain",
            "api",
            "signing",
            "checks",
            "auth",
            "store",
            "watch",
            "service",
            "transport",
            "grpc",
            "http",
        ],
    },
    Module { name: "client", may_import: &["domain", "api", "signing"] },
    // `signing` for `verify`, which needs no server; `checks` for `release`, which drafts nothing that does not parse.
    Module { name: "cli", may_import: &["domain", "signing", "checks", "client", "server"] },
    // No module: what the fault harness breaks on purpose, seen by all who have a part that can break.
    Module { name: "defect", may_import: &[] },
    Module { name: "main", may_import: &["cli", "server"] },
];

/// Outside crates and functions that only some may name. A crate that is not here is free.
const ALLOW_LISTS: &[AllowList] = &[
    AllowList { what: "sea_orm", who: &["store", "migrations"] },
    AllowList { what: "sea_orm_migration", who: &["store", "migrations"] },
    AllowList { what: "policyhub_migrations", who: &["store"] },
    // `api` for `Status` and the generated services.
    AllowList { what: "tonic*", who: &["api", "transport", "grpc", "server", "client"] },
    AllowList { what: "axum", who: &["http", "server", "transport/http_port", "transport/http_thread"] },
    AllowList { what: "ring", who: &["signing", "auth"] },
    // For names of things, which prove nothing: whatever is signed is hashed in `signing`.
    AllowList { what: "sha2", who: &["domain/digest"] },
    AllowList { what: "jsonwebtoken", who: &["auth"] },
    AllowList {
        what: "tokio*",
        who: &["store", "watch", "service", "transport", "grpc", "http", "server", "client", "cli", "main"],
    },
    AllowList { what: "clap", who: &["server/config", "cli"] },
    AllowList { what: "opentelemetry*", who: &["server", "client/trace"] },
    AllowList { what: "tracing_opentelemetry", who: &["server", "client/trace"] },
    AllowList { what: "env::var", who: ENVIRONMENT },
    AllowList { what: "env::var_os", who: ENVIRONMENT },
    AllowList { what: "env::vars", who: ENVIRONMENT },
    AllowList { what: "env::vars_os", who: ENVIRONMENT },
    AllowList { what: "SystemTime::now", who: CLOCK },
    AllowList { what: "Instant::now", who: CLOCK },
    AllowList { what: "OffsetDateTime::now_utc", who: CLOCK },
    AllowList { what: "OffsetDateTime::now_local", who: CLOCK },
    AllowList { what: "UtcDateTime::now", who: CLOCK },
];

/// The modules that may read the environment.
const ENVIRONMENT: &[&str] = &["server", "cli"];

/// The modules that may read a clock; everyone else takes `now` as a parameter. Single files may be added, with the reason:
/// `transport/accept` measures a pause between two accepts.
const CLOCK: &[&str] = &["server", "client", "cli", "transport/accept"];

const LENGTH_CAP: usize = 400;
const HEADER_CAP: usize = 8;
const REFUSED_MODULES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];
const PRIVATE_ROOTS: &[&str] = &["work", "root", "home"];

/// The sources of server, command and SDK.
const SOURCES: &[&str] = &["client/src", "core/src", "src"];

/// Every directory with Rust sources of ours; what a build generates is not among them.
const RUST: &[&str] = &[
    "client/examples",
    "client/src",
    "client/tests",
    "core/src",
    "src",
    "migrations/src",
    "tests",
    "benches",
    "fuzz/src",
    "fuzz/fuzz_targets",
];

fn refuse(findings: Vec<String>) {
    assert!(findings.is_empty(), "{} to tidy:\n{}", findings.len(), findings.join("\n"));
}

fn rust(directories: &[&str]) -> Vec<Source> {
    let files = source::rust_files(directories);
    assert!(files.len() > 2, "found {} Rust files in {directories:?}: is the tree where it should be?", files.len());
    files
}

#[test]
fn modules_import_lower_layers_only() {
    refuse(rust(SOURCES).iter().flat_map(|file| imports::layers(file, MODULES)).collect());
}

#[test]
fn outside_crates_clocks_and_environment_stay_in_their_modules() {
    refuse(
        rust(&[SOURCES, &["migrations/src"]].concat())
            .iter()
            .flat_map(|file| imports::allow_lists(file, ALLOW_LISTS))
            .collect(),
    );
}

#[test]
fn files_of_a_module_import_in_no_circle() {
    refuse(circles::circles(&rust(SOURCES)));
}

#[test]
fn files_are_short() {
    refuse(rust(RUST).iter().flat_map(|file| shape::length(file, LENGTH_CAP)).collect());
}

#[test]
fn files_open_with_a_header() {
    refuse(rust(RUST).iter().flat_map(|file| shape::header(file, HEADER_CAP)).collect());
}

#[test]
fn a_function_has_one_planted_defect() {
    refuse(rust(SOURCES).iter().flat_map(defects::planted_twice).collect());
}

#[test]
fn modules_have_names_with_a_meaning() {
    refuse(rust(RUST).iter().flat_map(|file| shape::module_names(file, REFUSED_MODULES)).collect());
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let files = source::tracked_files();
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "git lists no Cargo.toml");
    refuse(files.iter().flat_map(|file| shape::private_paths(file, PRIVATE_ROOTS)).collect());
}

#[test]
fn every_reason_is_documented_and_nothing_else() {
    let read = |path: &str| {
        source::read(&source::root().join(path))
            .unwrap_or_else(|| panic!("{path} is missing: each reason has its place"))
    };
    refuse(shape::reasons(&read("core/src/domain/error.rs"), &read("docs/errors.md")));
}

#[test]
fn every_link_and_citation_leads_somewhere() {
    let files = source::tracked_files();
    let anchors = citations::anchors(&files);
    let exists = |path: &str| source::root().join(path).exists();
    let pages = files.iter().filter(|file| file.path.ends_with(".md"));
    let mut findings: Vec<String> = pages.flat_map(|page| citations::links(page, &anchors, &exists)).collect();
    // The rule's own examples lead nowhere.
    let sources = files.iter().filter(|file| !file.path.starts_with("tests/tidy"));
    findings.extend(sources.flat_map(|file| citations::citations(file, &anchors, &exists)));
    refuse(findings);
}

#[test]
fn pages_name_files_and_functions_that_exist() {
    let files = source::tracked_files();
    let known = named_code::KnownCode::of(&files);
    // A decision names the code of its day.
    let pages = files.iter().filter(|file| file.path.ends_with(".md") && !file.path.starts_with("docs/adr/"));
    refuse(pages.flat_map(|page| known.unknown_names(page)).collect());
}
