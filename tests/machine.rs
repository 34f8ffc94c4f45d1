//! What the program says of the machine, of models, and to shells.

mod program;
mod support;

use std::fs;
use std::path::Path;

use llama_agent::chat::Cancel;
use llama_agent::cli::fit::{Need, Shape};
use llama_agent::llama::{CacheType, Forward, Gguf, Portable, Want};
use program::{Place, agent, run};
use support::Tiny;

/// A cache as Hugging Face's tools lay it out, with one model in two snapshots.
fn cache(folder: &Path) {
    let repo = folder.join("models--someone--tiny-GGUF");
    fs::create_dir_all(repo.join("snapshots/one/deep")).expect("folders");
    fs::create_dir_all(repo.join("blobs")).expect("folders");
    fs::write(repo.join("blobs/abc"), Tiny::default().bytes()).expect("written");
    fs::write(repo.join("snapshots/one/README.md"), "no model").expect("written");
    fs::write(repo.join("snapshots/one/deep/damaged.gguf"), "GGUF").expect("written");
    #[cfg(unix)]
    for snapshot in ["one", "two"] {
        let folder = repo.join("snapshots").join(snapshot);
        fs::create_dir_all(&folder).expect("a folder");
        std::os::unix::fs::symlink(repo.join("blobs/abc"), folder.join("tiny.gguf"))
            .expect("a link");
    }
    fs::create_dir_all(folder.join("datasets--someone--words/snapshots/x")).expect("folders");
}

#[cfg(unix)]
#[test]
fn models_are_listed_with_size_kind_and_fit() {
    let place = Place::new();
    cache(place.folder.path());
    let mut command = agent(&["models"]);
    let (code, out, err) = run(command.env("HF_HUB_CACHE", place.folder.path()));
    assert_eq!((code, err.as_str()), (0, ""));
    let row = |name: &str| {
        let rows: Vec<_> = out.lines().filter(|line| line.contains(name)).collect();
        assert_eq!(rows.len(), 1, "{name}:\n{out}");
        rows[0]
    };
    assert!(row("someone/tiny-GGUF:tiny.gguf").ends_with("  fits"), "{out}");
    assert!(row("someone/tiny-GGUF:deep/damaged.gguf").contains("damaged"), "{out}");
    assert!(row("llama-2-70b-chat").contains("36.2 GiB  Q4_0"), "{out}");
    assert!(out.contains("  2 models in "), "{out}");
    if cfg!(feature = "embedded-model") {
        assert!(out.lines().nth(1).is_some_and(|line| line.contains("Q8_0      fits")), "{out}");
    }
    // Nothing fits a context that no machine has room for.
    let (_, out, _) = run(&mut agent(&["models", "--context", "1"]));
    assert!(out.contains("llama-2-7b-chat"));
}

#[test]
fn the_doctor_reports_every_part() {
    let place = Place::new();
    let home = place.folder.path();
    let doctor = |token: Option<&str>| {
        let mut command = agent(&["doctor"]);
        command.env("HF_HOME", home).env("XDG_CACHE_HOME", home).env("HOME", home);
        for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE"] {
            command.env_remove(name);
        }
        let (code, out, err) = run(command.envs(token.map(|token| ("HF_TOKEN", token))));
        assert_eq!((code, err.as_str()), (0, ""));
        out
    };
    let out = doctor(None);
    for part in ["Processor", "GPU", "Memory", "Disk", "Models", "Snapshots", "Settings", "Llama-2"]
    {
        assert!(
            out.lines().any(|line| line.starts_with(part) && line.len() > 13),
            "{part}:\n{out}"
        );
    }
    assert!(out.contains(" GB/s\n") && out.contains("Hub token  none\n"), "{out}");
    assert!(doctor(Some("hf_secret")).contains("Hub token  in HF_TOKEN\n"));
    fs::write(home.join("token"), "hf_secret").expect("written");
    let out = doctor(None);
    assert!(out.contains("Hub token  in ") && !out.contains("secret"), "{out}");
}

#[test]
fn what_a_cache_needs_is_what_the_engine_keeps() {
    // Heads as long as those of real models are, a multiple of the engine's lanes.
    let tiny = Tiny { context: 64, layers: 3, dim: 128, heads: 4, ..Tiny::default() };
    let gguf = Gguf::from_bytes(tiny.bytes()).expect("a model");
    let tokens: Vec<u32> = (0..64).map(|id| 3 + id % 8).collect();
    for cache in [None, Some(CacheType::F32), Some(CacheType::F16), Some(CacheType::Q8_0)] {
        let engine = Portable::new(&gguf, None).expect("an engine");
        let mut engine = match cache {
            Some(kind) => engine.with_cache(kind),
            None => engine,
        };
        engine.forward(&tokens, Want::Nothing, &Cancel::new()).expect("a pass");
        let shape = Shape::from(engine.config()).kept(cache);
        for context in [64, 32] {
            let rows = engine.export(context).expect("rows");
            let need = Need::of(0, shape, Some(context)).cache;
            assert_eq!(need, rows.bytes.len() as u64, "{cache:?}");
        }
        let memory = engine.memory().expect("known");
        assert_eq!(Need::of(0, shape, Some(1)).cache, memory.token, "{cache:?}");
        assert_eq!(Need::of(0, shape, None).cache, memory.cache, "{cache:?}");
    }
}

#[test]
fn shells_get_completions_and_manual_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, err) = run(&mut agent(&["completions", shell]));
        assert_eq!((code, err.as_str()), (0, ""), "{shell}");
        assert!(out.contains("doctor") && out.contains("max-steps"), "{shell}");
    }
    let (code, page, _) = run(&mut agent(&["man"]));
    assert!(code == 0 && page.contains(".TH agent 1") && page.contains("Exit codes:"), "{page}");
    let place = Place::new();
    let folder = place.folder.path().join("man");
    let (code, out, err) = run(agent(&["man", "--out"]).arg(&folder));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    for page in ["agent.1", "agent-ask.1", "agent-cache-list.1", "agent-doctor.1"] {
        assert!(folder.join(page).is_file(), "{page}");
    }
    let (code, _, err) = run(&mut agent(&["man", "--out", "/dev/null/x"]));
    assert!(code == 1 && err.contains("/dev/null/x"), "{err}");
}
