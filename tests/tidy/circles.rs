//! Circles: files of a module that import each other, directly or by way of others.
//!
//! Boundary: between modules the layers see to it. Test code is left out. A door that hands on what its children have imports nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{full_path, module_of};
use super::paths::{Names, names};
use super::source::Source;

type ModulePath = Vec<String>;
type Imports = BTreeMap<ModulePath, BTreeSet<ModulePath>>;

/// Returns the files that stand in a circle, or between two.
pub fn circles(files: &[Source]) -> Vec<String> {
    let read: BTreeMap<ModulePath, (&Source, Names)> = files
        .iter()
        .map(|file| (module_of(&file.path), (file, names(file))))
        .filter(|(module, _)| !module.is_empty())
        .collect();
    let tests: BTreeSet<ModulePath> = read
        .iter()
        .flat_map(|(module, (_, names))| {
            names.test_modules.iter().map(|test| [module.as_slice(), std::slice::from_ref(test)].concat())
        })
        .collect();
    let is_test = |module: &ModulePath| (1..=module.len()).any(|depth| tests.contains(&module[..depth]));
    let mut imports = Imports::new();
    for (module, (_, names)) in read.iter().filter(|(module, _)| !is_test(module)) {
        let found = names.paths.iter().filter(|path| !path.in_test && !path.handed_on).filter_map(|path| {
            let named = full_path(path, module).unwrap_or_else(|| [module.as_slice(), &path.segments].concat());
            let target = file_of(&named, &read)?;
            (target != *module && target.first() == module.first() && !is_test(&target)).then_some(target)
        });
        imports.insert(module.clone(), found.collect());
    }
    let left = without_ends(imports);
    let named = |module: &ModulePath| module.join("::");
    let line = |(module, targets): (&ModulePath, &BTreeSet<ModulePath>)| {
        let others: Vec<String> = targets.iter().map(named).collect();
        read[module].0.finding(
            1,
            &format!("imports {} in a circle: split a file, or move what both need below them", others.join(", ")),
        )
    };
    left.iter().map(line).collect()
}

/// Returns the file that a path leads into, through the doors that hand it on.
fn file_of(named: &[String], read: &BTreeMap<ModulePath, (&Source, Names)>) -> Option<ModulePath> {
    let depth = (1..=named.len()).rev().find(|depth| read.contains_key(&named[..*depth]))?;
    let (file, name) = (named[..depth].to_vec(), named.get(depth));
    let handed_on = read[&file].1.paths.iter().filter(|path| path.handed_on && path.segments.last() == name);
    let mut below = handed_on.filter_map(|path| {
        let full = full_path(path, &file).unwrap_or_else(|| [file.as_slice(), &path.segments].concat());
        (1..=full.len()).rev().find(|depth| read.contains_key(&full[..*depth])).map(|depth| full[..depth].to_vec())
    });
    Some(below.find(|below| *below != file).unwrap_or(file))
}

/// Takes away what imports nothing that is left and what nobody that is left imports, until nothing more goes.
fn without_ends(mut imports: Imports) -> Imports {
    loop {
        let imported: BTreeSet<ModulePath> = imports.values().flatten().cloned().collect();
        let before = imports.len();
        imports.retain(|module, targets| !targets.is_empty() && imported.contains(module));
        let left: BTreeSet<ModulePath> = imports.keys().cloned().collect();
        imports.values_mut().for_each(|targets| targets.retain(|target| left.contains(target)));
        if imports.len() == before {
            return imports;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> usize {
        circles(&files.iter().map(|(path, text)| Source::sample(path, text)).collect::<Vec<_>>()).len()
    }

    #[test]
    fn files_that_import_each_other_are_found() {
        assert_eq!(found(&[("src/store/a.rs", "use super::b::B;"), ("src/store/b.rs", "use crate::store::a::A;")]), 2);
        let three = [
            ("src/store/a.rs", "use super::b::B;"),
            ("src/store/b.rs", "fn f() { super::c::g() }"),
            ("src/store/c.rs", "use super::A;"),
            ("src/store/mod.rs", "mod a;\npub use a::A;"),
        ];
        assert_eq!(found(&three), 3, "also through a door");
    }

    #[test]
    fn what_hangs_on_a_circle_or_is_a_test_is_none() {
        for files in [
            [("src/store/a.rs", "use super::b::B;"), ("src/store/b.rs", "use crate::domain::a::A;")],
            [("src/store/mod.rs", "mod a;\npub use a::A;"), ("src/store/a.rs", "use super::Store;")],
            [("src/store/a.rs", "#[cfg(test)]\nmod tests;\nmod b;"), ("src/store/a/tests.rs", "use super::A;")],
            [
                ("src/store/a.rs", "#[cfg(test)]\nmod tests { use super::super::b::B; }"),
                ("src/store/b.rs", "use super::a::A;"),
            ],
        ] {
            assert_eq!(found(&files), 0, "{files:?}");
        }
    }
}
