//! Who may import whom: modules (the layers of docs/ARCHITECTURE.md) and outside crates and functions (allow-lists).
//!
//! Boundary: the tables are in `tests/tidy.rs`; here is only how they are applied. Test code inside `src/` keeps the
//! layers but needs no allow-list.

use super::paths::{Names, Path, names};
use super::source::Source;

/// A module and the modules it may import; every module may import itself.
pub struct Module {
    /// Its module directly below the crate root.
    pub name: &'static str,
    /// Holds what it may import.
    pub may_import: &'static [&'static str],
}

/// Something from outside, and who may name it.
pub struct AllowList {
    /// A crate (`ring`), every crate that starts so (`opentelemetry*`), or the end of a path (`SystemTime::now`).
    pub what: &'static str,
    /// Modules (`store`, `migrations`) or modules of a module (`server/config`: that file, or that directory).
    pub who: &'static [&'static str],
}

/// Imports that go up or sideways.
pub fn layers(source: &Source, modules: &[Module]) -> Vec<String> {
    let module = module_of(&source.path);
    let Some(home) = module.first() else { return Vec::new() };
    let Some(row) = modules.iter().find(|row| row.name == home) else {
        let advice = format!("`{home}` is no module: put the file in one, or add a row to MODULES in tests/tidy.rs");
        return vec![source.finding(1, &advice)];
    };
    let mut findings = Vec::new();
    for path in names(source).paths {
        let Some(target) = module_named(&path, &module) else { continue };
        if target != *home && !row.may_import.contains(&target.as_str()) {
            let allowed = if row.may_import.is_empty() { "nothing".to_owned() } else { row.may_import.join(", ") };
            let advice = format!(
                "`{home}` may not import `{}`; it may import {allowed}: move the code to the module that may",
                path.segments.join("::")
            );
            findings.push(source.finding(path.line, &advice));
        }
    }
    findings.dedup();
    findings
}

/// Outside crates and functions named where they have no allow-list.
pub fn allow_lists(source: &Source, allow_lists: &[AllowList]) -> Vec<String> {
    if source.path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let names = names(source);
    let mut findings = Vec::new();
    for path in names.paths.iter().filter(|path| !path.in_test) {
        for allow_list in allow_lists
            .iter()
            .filter(|allow_list| names_it(path, allow_list.what, &names) && !admits(allow_list, &source.path))
        {
            let who = if allow_list.who.is_empty() { "no file".to_owned() } else { allow_list.who.join(", ") };
            let advice = format!(
                "`{}` is for {who} only: move the code there, take the value as a parameter, or change ALLOW_LISTS in \
                 tests/tidy.rs",
                allow_list.what
            );
            findings.push(source.finding(path.line, &advice));
        }
    }
    findings.dedup();
    findings
}

/// Returns where a file stands, as if all packages were one: `client/src/` is the module `client`, and the modules of `core/src/` stand
/// beside those of `src/`. None: the file is in no module.
fn inside(path: &str) -> Option<String> {
    let inside = path.strip_prefix("src/").or_else(|| path.strip_prefix("core/src/"));
    inside.map(str::to_owned).or_else(|| Some(format!("client/{}", path.strip_prefix("client/src/")?)))
}

/// Returns the module a file is; `main.rs` is the module `main`, `lib.rs` is the root of its package.
pub fn module_of(path: &str) -> Vec<String> {
    let Some(inside) = inside(path) else { return Vec::new() };
    let Some(module) = inside.strip_suffix(".rs") else { return Vec::new() };
    let module = module.strip_suffix("/mod").unwrap_or(module);
    module.split('/').filter(|name| *name != "lib").map(str::to_owned).collect()
}

/// Returns the module a path leads into, when it leads into one: `crate::x`, `policyhub_core::x`, or enough `super`s.
fn module_named(path: &Path, file: &[String]) -> Option<String> {
    full_path(path, file)?.into_iter().next()
}

/// Returns where a path leads from the root, as if all packages were one; none: into another crate.
pub fn full_path(path: &Path, file: &[String]) -> Option<Vec<String>> {
    // The modules of a binary hang below its own root, not below a module.
    let file = if file == ["main"] { &[] } else { file };
    let client = "client".to_owned();
    let is_client = file.first() == Some(&client);
    let mut place: Vec<&String> = file.iter().chain(&path.inside).collect();
    let ours = ["crate", "policyhub", "policyhub_client", "policyhub_core", "self", "super"];
    if !ours.contains(&path.segments.first()?.as_str()) {
        return None;
    }
    for segment in &path.segments {
        match segment.as_str() {
            "crate" if is_client => place.truncate(1),
            "policyhub_client" => place = vec![&client],
            "crate" | "policyhub" | "policyhub_core" => place.clear(),
            "super" => drop(place.pop()),
            "self" => {}
            _ => place.push(segment),
        }
    }
    Some(place.into_iter().cloned().collect())
}

fn names_it(path: &Path, what: &str, names: &Names) -> bool {
    let first = path.segments.first().map_or("", String::as_str);
    if what.contains("::") {
        return path.segments.join("::") == what || path.segments.join("::").ends_with(&format!("::{what}"));
    }
    let named = match what.strip_suffix('*') {
        Some(start) => first.starts_with(start),
        None => first == what,
    };
    named && !is_local(first, path, names)
}

/// Returns whether a word is a module of the file's own: declared in it, or imported into it from a longer path.
fn is_local(word: &str, path: &Path, names: &Names) -> bool {
    let imported = |other: &Path| {
        other.imported && other.segments.len() > 1 && other.segments.last().is_some_and(|last| last == word)
    };
    names.modules.iter().any(|(module, _)| module == word) || (!path.imported && names.paths.iter().any(imported))
}

fn admits(allow_list: &AllowList, path: &str) -> bool {
    let inside = inside(path).unwrap_or_else(|| path.to_owned());
    allow_list.who.iter().any(|who| {
        inside.strip_prefix(who).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".rs")
    })
}

#[cfg(test)]
mod tests {
    use super::super::{ALLOW_LISTS, MODULES};
    use super::*;

    fn layer_lines(path: &str, text: &str) -> Vec<String> {
        layers(&Source::sample(path, text), MODULES)
    }

    #[test]
    fn an_import_from_a_higher_layer_is_found_however_it_is_spelt() {
        for text in [
            "use crate::store::Store;",
            "use crate::{domain::Error, store::Store};",
            "use super::super::store::Store;",
            "fn f() { crate::store::open() }",
            "mod tests { use super::super::super::store; }",
            "use crate::*;",
            "pub use super::{super::{store}};",
        ] {
            let found = layer_lines("core/src/signing/jws.rs", &format!("//! Head.\n{text}\n"));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with("core/src/signing/jws.rs:2: `signing` may not import"), "{found:?}");
        }
        assert_eq!(layer_lines("src/main.rs", "use policyhub::store::Store;").len(), 1);
        assert_eq!(layer_lines("src/cli/publish.rs", "use crate::api::pb;").len(), 1);
        assert_eq!(layer_lines("src/store/a.rs", "use crate::domain::D;\nuse crate::api::pb;").len(), 1);
        assert_eq!(layer_lines("core/src/api/a.rs", "use crate::signing::jws;").len(), 1);
        assert_eq!(layer_lines("client/src/watch.rs", "use policyhub::store::Store;").len(), 1);
        assert_eq!(layer_lines("src/service/a.rs", "use policyhub_client::Client;").len(), 1);
        assert_eq!(layer_lines("src/attic/box.rs", "").len(), 1, "a module that the table does not know");
    }

    #[test]
    fn imports_from_lower_layers_and_own_files_pass() {
        for (path, text) in [
            ("core/src/signing/jws.rs", "use crate::{domain::{Error, name}, signing::key};\nuse super::key::Key;"),
            ("core/src/signing/jws.rs", "// crate::store\nconst A: &str = \"crate::store::x\"; /* crate::grpc::y */"),
            ("core/src/signing/mod.rs", "use super::domain::Error;\nuse self::key::Key;\npub mod key;"),
            ("core/src/signing/jws.rs", "mod tests { use super::*; use super::super::key; }"),
            ("client/src/watch.rs", "use crate::cache::Cache;\nuse policyhub_core::signing::jws;\nuse super::error;"),
            ("client/src/watch/a.rs", "use super::super::error;\nuse policyhub_core::api::pb;"),
            ("src/main.rs", "fn main() { policyhub::cli::run() }"),
            ("src/lib.rs", "pub mod store; pub use store::Store;"),
        ] {
            assert_eq!(layer_lines(path, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn what_is_named_by_a_module_off_the_allow_list_is_found() {
        for (path, text) in [
            ("src/service/publish.rs", "use sea_orm::EntityTrait;"),
            ("core/src/domain/time.rs", "fn f() { tokio::spawn(g()) }"),
            ("src/store/log.rs", "use {bytes::Bytes, tonic::Status};"),
            ("src/watch/frame.rs", "use ::ring::digest::digest;"),
            ("src/server/run.rs", "use clap::Parser;"),
            ("src/grpc/policy.rs", "#[opentelemetry_sdk::marker]\nfn f() {}"),
            ("src/store/open.rs", "fn f() { std::env::var(\"X\") }"),
            ("src/store/open.rs", "use std::env;\nfn f() { env::var_os(\"X\") }"),
            ("src/auth/token.rs", "fn f() { let now = std::time::SystemTime::now(); }"),
            ("core/src/signing/jws.rs", "use time::OffsetDateTime;\nfn f() { OffsetDateTime::now_utc() }"),
            ("migrations/src/lib.rs", "use axum::Router;"),
        ] {
            let found = allow_lists(&Source::sample(path, text), ALLOW_LISTS);
            assert_eq!(found.len(), 1, "{path} {text}: {found:?}");
        }
    }

    #[test]
    fn modules_on_the_allow_list_tests_and_local_modules_pass() {
        for (path, text) in [
            ("src/store/open.rs", "use sea_orm::Database;"),
            ("migrations/src/lib.rs", "use sea_orm_migration::sea_orm::Statement;\nuse sea_orm::Value;"),
            ("src/server/config.rs", "use clap::Args;"),
            ("src/cli/mod.rs", "fn f() { std::env::var(\"X\") }"),
            ("src/watch/mod.rs", "mod ring;\npub use ring::Ring;"),
            ("src/watch/tailer.rs", "use super::ring;\nfn f(a: A) { ring::push(); a.ring.tokio() }"),
            ("core/src/domain/time.rs", "// tokio::spawn\nconst A: &str = \"ring::digest\";"),
            ("src/auth/token.rs", "#[cfg(test)]\nmod tests { fn f() { std::time::SystemTime::now(); } }"),
        ] {
            assert_eq!(allow_lists(&Source::sample(path, text), ALLOW_LISTS), Vec::<String>::new(), "{path} {text}");
        }
    }
}
