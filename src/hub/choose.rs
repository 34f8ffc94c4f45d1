//! Which of a repository's files make up a model.

use std::collections::BTreeSet;

use serde_json::Value;

use super::error::HubError;
use super::names::{Repo, Spec, is_gguf, is_inside};

/// The 4-bit files that are taken where nothing is said, the first first.
pub const DEFAULT: [&str; 3] = ["Q4_0", "Q4_K_M", "Q4_K_S"];

/// The table of a model in several safetensors files.
pub const INDEX: &str = "model.safetensors.index.json";

/// What is needed of such a model besides its weights, where it is there.
const BESIDE: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    INDEX,
];

/// A model in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One GGUF file.
    Gguf(String),
    /// A model as transformers keeps it: what describes it, and the weights.
    /// Which of the weights are needed says the index, where there is one.
    Safetensors { beside: Vec<String>, weights: Vec<String> },
}

/// Chooses among the files of a repository: the one that is named, that of the
/// quantization asked for, or a 4-bit one.
///
/// # Errors
/// There is none such, or it is not clear which: says what there is.
pub fn choose(spec: &Spec, files: &[String], quant: Option<&str>) -> Result<Choice, HubError> {
    let repo = &spec.repo;
    if let Some(file) = &spec.file {
        return match files.contains(file) {
            true => Ok(Choice::Gguf(file.clone())),
            false => Err(HubError::Name(format!("{repo} has no file {file}{}", there(files)))),
        };
    }
    let whole: Vec<&String> = files.iter().filter(|file| is_whole(file)).collect();
    let fitting = |quant: &str| -> Vec<&String> {
        whole.iter().copied().filter(|file| has(file, quant)).collect()
    };
    let found = match quant {
        Some(quant) => fitting(quant),
        None if whole.len() == 1 => whole.clone(),
        None => {
            DEFAULT.iter().map(|quant| fitting(quant)).find(|at| !at.is_empty()).unwrap_or_default()
        }
    };
    match (&found[..], quant) {
        ([one], _) => Ok(Choice::Gguf((*one).clone())),
        ([], _) if whole.is_empty() => safetensors(repo, files),
        ([], Some(quant)) => {
            Err(HubError::Name(format!("{repo} has no {quant} file{}", there(files))))
        }
        (several, _) => {
            let which = if several.is_empty() { "no 4-bit file" } else { "several that fit" };
            Err(HubError::Name(format!(
                "{repo} has {which}: name one, {repo}:FILE{}",
                there(files)
            )))
        }
    }
}

/// The weights that an index names.
///
/// # Errors
/// It is not an index, or names files outside of the repository.
pub fn shards(index: &str) -> Result<Vec<String>, String> {
    let index: Value = serde_json::from_str(index).map_err(|error| error.to_string())?;
    let map = index["weight_map"].as_object().ok_or("it has no weight_map")?;
    let names: Option<BTreeSet<&str>> = map.values().map(Value::as_str).collect();
    let names = names.filter(|names| names.iter().all(|name| is_inside(name)));
    Ok(names.ok_or("its weight_map is no table of files")?.into_iter().map(Into::into).collect())
}

fn safetensors(repo: &Repo, files: &[String]) -> Result<Choice, HubError> {
    let weights: Vec<String> = files
        .iter()
        .filter(|file| file.ends_with(".safetensors") && !file.contains('/'))
        .cloned()
        .collect();
    let beside: Vec<String> =
        files.iter().filter(|file| BESIDE.contains(&file.as_str())).cloned().collect();
    if !weights.is_empty() && beside.iter().any(|file| file == "config.json") {
        return Ok(Choice::Safetensors { beside, weights });
    }
    let why = match files.iter().any(|file| lower(file).contains(".gguf")) {
        true => "its GGUF files are in parts, which would have to be joined first",
        false => "it has neither a GGUF file nor config.json with safetensors",
    };
    Err(HubError::Name(format!("{repo} has no model that can be used here: {why}")))
}

/// A GGUF file that is whole: not one part of several.
fn is_whole(file: &str) -> bool {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let count = stem.rsplit_once("-of-").map(|(_, count)| count);
    let part = count.is_some_and(|count| count.bytes().all(|byte| byte.is_ascii_digit()));
    is_gguf(file) && !part
}

/// The quantization is in the file's name, as a word of its own.
fn has(file: &str, quant: &str) -> bool {
    let (file, quant) = (lower(file), lower(quant));
    let word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    !quant.is_empty()
        && file.match_indices(&quant).any(|(at, _)| {
            !word(file[..at].chars().next_back()) && !word(file[at + quant.len()..].chars().next())
        })
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// The GGUF files there are, for an error.
fn there(files: &[String]) -> String {
    let whole: Vec<&str> =
        files.iter().filter(|file| is_whole(file)).map(String::as_str).take(20).collect();
    if whole.is_empty() { String::new() } else { format!("; there is {}", whole.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(name: &str, files: &[&str], quant: Option<&str>) -> Result<Choice, String> {
        let spec = Spec::parse(name).expect("no error").expect("a name");
        let files: Vec<String> = files.iter().map(|file| file.to_string()).collect();
        choose(&spec, &files, quant).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_that_is_meant_is_found() {
        let gguf = |file: &str| Ok(Choice::Gguf(file.into()));
        let many = ["README.md", "m.Q2_K.gguf", "m.Q4_0.gguf", "m.Q4_K_M.gguf", "m.Q8_0.gguf"];
        assert_eq!(chosen("a/b", &many, None), gguf("m.Q4_0.gguf"));
        assert_eq!(chosen("a/b", &many, Some("q8_0")), gguf("m.Q8_0.gguf"));
        assert_eq!(chosen("a/b:m.Q2_K.gguf", &many, None), gguf("m.Q2_K.gguf"));
        assert_eq!(chosen("a/b", &["x-f16.gguf"], None), gguf("x-f16.gguf"));
        let hyphens = ["M-Q4_K_M.gguf", "M-Q4_K_S.gguf", "M-IQ4_0.gguf"];
        assert_eq!(chosen("a/b", &hyphens, None), gguf("M-Q4_K_M.gguf"));
    }

    #[test]
    fn what_is_not_clear_is_an_error_that_lists() {
        for (files, quant, said) in [
            (&["m.Q4_0.gguf", "m.Q8_0.gguf"][..], Some("Q4_K"), "there is m.Q4_0.gguf"),
            (&["m.Q2_K.gguf", "m.Q8_0.gguf"], None, "no 4-bit file"),
            (&["x.Q4_0.gguf", "y.Q4_0.gguf"], None, "several"),
            (&["m-Q8_0-00001-of-00002.gguf", "m-Q8_0-00002-of-00002.gguf"], None, "in parts"),
            (&["m.Q8_0.gguf-split-a"], Some("Q8_0"), "in parts"),
            (&["pytorch_model.bin", "config.json"], None, "neither"),
        ] {
            let error = chosen("a/b", files, quant).expect_err("unclear");
            assert!(error.contains(said), "{error}");
        }
        assert!(chosen("a/b:no.gguf", &["m.Q4_0.gguf"], None).is_err());
    }

    #[test]
    fn safetensors_come_with_what_describes_them() {
        let files =
            ["config.json", "x.txt", "tokenizer.model", "model.safetensors", "o/m.safetensors"];
        let Ok(Choice::Safetensors { beside, weights }) = chosen("a/b", &files, None) else {
            panic!("no safetensors")
        };
        assert_eq!(beside, ["config.json", "tokenizer.model"]);
        assert_eq!(weights, ["model.safetensors"]);
        let index =
            r#"{"weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "2.safetensors"}}"#;
        assert_eq!(shards(index).expect("an index"), ["1.safetensors", "2.safetensors"]);
        for bad in
            ["", "[]", "{}", r#"{"weight_map": {"a": 1}}"#, r#"{"weight_map": {"a": "../x"}}"#]
        {
            assert!(shards(bad).is_err(), "{bad}");
        }
    }
}
