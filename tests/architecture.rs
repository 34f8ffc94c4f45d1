//! The direction of the arrows: a module imports only layers below it.

use std::path::{Path, PathBuf};

/// What each module may import of this crate.
const BELOW: [(&str, &[&str]); 8] = [
    ("cli", &["agent", "llm", "decode", "llama", "tool", "chat", "hub"]),
    ("agent", &["llm", "decode", "llama", "tool", "chat"]),
    ("llm", &["decode", "llama", "tool", "chat"]),
    ("decode", &["llama", "tool", "chat"]),
    ("llama", &["chat"]),
    ("tool", &["chat"]),
    ("chat", &[]),
    ("hub", &[]),
];

/// Crates that only one module may name.
const KEPT_IN: [(&str, &[&str]); 7] = [
    ("clap", &["cli"]),
    ("rustyline", &["cli"]),
    ("candle_core", &["llama"]),
    ("cudarc", &["llama"]),
    ("ureq", &["hub", "llm"]),
    ("llguidance", &["decode"]),
    ("toktrie", &["decode"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn module_of(path: &Path, src: &Path) -> String {
    let inside = path.strip_prefix(src).expect("inside src");
    let first = inside.components().next().expect("a name").as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_string()
}

/// The modules named after each `crate::` in a source text, groups included.
fn imports(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for after in source.split("crate::").skip(1) {
        let names = match after.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default(),
            None => {
                after.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
            }
        };
        for name in names.split(',') {
            let name = name.trim().split("::").next().unwrap_or_default();
            if !name.is_empty() {
                found.push(name.to_string());
            }
        }
    }
    found
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for path in sources(&src) {
        let module = module_of(&path, &src);
        let Some((_, below)) = BELOW.iter().find(|(name, _)| *name == module) else {
            assert!(
                ["lib", "main"].contains(&module.as_str()),
                "{module} has no place in the layers"
            );
            continue;
        };
        let source = std::fs::read_to_string(&path).expect("a source text");
        for name in imports(&source) {
            let known = BELOW.iter().any(|(layer, _)| *layer == name);
            assert!(
                !known || name == module || below.contains(&name.as_str()),
                "{} imports crate::{name}, which does not lie below {module}",
                path.display()
            );
            checked += 1;
        }
    }
    assert!(checked > 20, "only {checked} imports were read");
}

#[test]
fn libraries_stay_where_they_belong() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&src) {
        let module = module_of(&path, &src);
        let source = std::fs::read_to_string(&path).expect("a source text");
        for (library, homes) in KEPT_IN {
            let names_it = source.lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//")
                    && (line.contains(&format!("{library}::")) || line == format!("use {library};"))
            });
            assert!(
                !names_it || homes.contains(&module.as_str()),
                "{} names {library}, which stays in {homes:?}",
                path.display()
            );
        }
    }
}

#[test]
fn an_arrow_the_wrong_way_would_be_found() {
    assert_eq!(imports("use crate::agent::Agent;"), ["agent"]);
    assert_eq!(imports("use crate::{cli, llm::{Llm}};"), ["cli", "llm"]);
    assert_eq!(imports("let x = crate::hub::pull();"), ["hub"]);
}
