//! `agent pull` and `--model NAME`, as a shell sees them, from a hub on this
//! machine.

mod folder;
mod loopback;
mod program;
mod support;

use std::fs;

use assert_cmd::Command;
use candle_core::quantized::gguf_file::Value;
use folder::Folder;
use loopback::{Loopback, noise};
use program::{agent, run};
use support::Tiny;
use tempfile::TempDir;

const REPO: &str = "TheBloke/Llama-2-7B-Chat-GGUF";
const FILE: &str = "llama-2-7b-chat.Q4_0.gguf";

/// The small model, under the name of a large one.
fn model() -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/calculator.gguf");
    fs::read(path).expect("the model in the box")
}

/// The program with a home of its own and this hub.
fn at(home: &TempDir, loopback: &Loopback, args: &[&str]) -> Command {
    let mut command = agent(args);
    for name in [
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HUGGINGFACE_HUB_CACHE",
        "HUGGING_FACE_HUB_TOKEN",
    ] {
        command.env_remove(name);
    }
    command.env("HF_HOME", home.path()).env("XDG_CACHE_HOME", home.path().join("cache"));
    command.env("HF_ENDPOINT", loopback.endpoint());
    command
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_model_is_pulled_and_then_answers() {
    let (home, loopback) = (home(), Loopback::start());
    loopback.file(&format!("{REPO}/{FILE}"), &model());
    loopback.file(&format!("{REPO}/llama-2-7b-chat.Q8_0.gguf"), &noise(2000));
    let ask = ["ask", "what is 4**2.1", "--model", "llama-2-7b-chat"];
    let (code, out, err) = run(&mut at(&home, &loopback, &ask));
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("`agent pull llama-2-7b-chat` downloads it"), "{err}");

    let (code, path, err) = run(&mut at(&home, &loopback, &["pull", "llama-2-7b-chat"]));
    assert_eq!(code, 0, "{err}");
    for part in [REPO, FILE, "disk: ", " free in ", "memory: ", "100%"] {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert_eq!(fs::read(path.trim_end()).expect("the file"), model());

    // By each of its names, and without asking anybody.
    loopback.seen();
    let whole = format!("{REPO}:{FILE}");
    for name in ["llama-2-7b-chat", REPO, whole.as_str(), path.trim_end()] {
        let ask = ["ask", "what is 4**2.1", "--model", name];
        let (code, out, err) = run(&mut at(&home, &loopback, &ask));
        assert_eq!((code, err.as_str()), (0, ""), "{name}");
        assert!(out.contains("18.37917367995256"), "{name}: {out}");
    }
    assert!(loopback.seen().is_empty());
    let other = ["ask", "q", "--model", "llama-2-7b-chat", "--quant", "Q8_0"];
    let (code, _, err) = run(&mut at(&home, &loopback, &other));
    assert!(code == 3 && err.contains("agent pull llama-2-7b-chat --quant Q8_0"), "{err}");
    let offline =
        run(at(&home, &loopback, &["pull", "llama-2-7b-chat"]).env("HF_HUB_OFFLINE", "1"));
    assert_eq!((offline.0, offline.1), (0, path));
}

#[test]
fn what_cannot_be_had_is_said_before_a_byte_moves() {
    let (home, loopback) = (home(), Loopback::start());
    loopback.file(&format!("{REPO}/{FILE}"), &noise(5000));
    let pull = |args: &[&str]| {
        let (code, out, err) = run(&mut at(&home, &loopback, args));
        assert_eq!((code, out.as_str()), (3, ""), "{err}");
        assert!(loopback.seen().iter().all(|seen| !seen.path.starts_with("/bytes/")));
        err
    };
    let unknown = pull(&["pull", "llama-2-7b-cat"]);
    assert!(unknown.contains("did you mean llama-2-7b-chat?"), "{unknown}");
    let quant = pull(&["pull", REPO, "--quant", "Q6_K"]);
    assert!(quant.contains("no Q6_K file") && quant.contains(FILE), "{quant}");
    let none = pull(&["pull", "nobody/nothing"]);
    assert!(none.contains("there is no repository nobody/nothing"), "{none}");
    loopback.ways(|ways| ways.claims = 1 << 50);
    let disk = pull(&["pull", "llama-2-7b-chat"]);
    assert!(disk.contains("the disk is too small") && disk.contains("HF_HOME"), "{disk}");
    assert!(disk.contains("does not fit"), "{disk}");
    loopback.ways(|ways| ways.refuses = Some((403, "GatedRepo")));
    let gated = pull(&["pull", "meta-llama/Llama-2-70b-chat-hf"]);
    let page = format!("{}/meta-llama/Llama-2-70b-chat-hf", loopback.endpoint());
    assert!(gated.contains(&page) && gated.contains("HF_TOKEN"), "{gated}");
}

/// Bytes that were asked for, a range a request; None for a whole file.
fn ranges(loopback: &Loopback) -> Vec<Option<String>> {
    let bodies = loopback.seen().into_iter().filter(|seen| seen.path.starts_with("/bytes/"));
    bodies.map(|mut seen| seen.headers.remove("range")).collect()
}

#[test]
fn what_a_file_says_of_itself_is_read_before_it_moves() {
    let (home, loopback) = (home(), Loopback::start());
    let long = ("test.padding".to_string(), Value::String("x".repeat(3 << 20)));
    let tiny = |extra: &[(String, Value)]| {
        let extra = extra.iter().chain([&long]).cloned().collect();
        Tiny { extra, ..Tiny::default() }.bytes()
    };
    let text = |key: &str, text: &str| (key.to_string(), Value::String(text.into()));
    let count = |key: &str, count| (key.to_string(), Value::U32(count));
    let pull = |file: &str| {
        let name = format!("someone/models:{file}");
        run(&mut at(&home, &loopback, &["pull", &name]))
    };
    let whole = tiny(&[]);
    loopback.file("someone/models/fits.gguf", &whole);
    let (code, path, err) = pull("fits.gguf");
    assert_eq!(code, 0, "{err}");
    assert!(err.contains(" of weights, and ") && err.contains(" for 256 tokens, of "), "{err}");
    assert!(err.contains(" available: fits\n"), "{err}");
    let asked = ["bytes=0-1048575".to_string(), format!("bytes=1048576-{}", whole.len() - 1)];
    assert!(whole.len() < 4 << 20, "{}", whole.len());
    assert_eq!(ranges(&loopback), [Some(asked[0].clone()), Some(asked[1].clone()), None]);
    assert_eq!(fs::read(path.trim_end()).expect("the file"), whole);
    // Once it is here, it is read from here.
    assert!(pull("fits.gguf").2.contains(" available: fits\n"));
    assert!(ranges(&loopback).is_empty());

    let large = [count("llama.block_count", 1 << 20), count("llama.context_length", 1 << 20)];
    loopback.file("someone/models/large.gguf", &tiny(&large));
    let (code, _, err) = pull("large.gguf");
    assert!(code == 0 && err.contains(" for 1048576 tokens, of "), "{err}");
    assert!(err.contains(" available: does not fit"), "{err}");
    ranges(&loopback);

    for (file, bytes, why) in [
        ("qwen.gguf", tiny(&[text("general.architecture", "qwen2")]), "cannot be run here"),
        ("yarn.gguf", tiny(&[text("llama.rope.scaling.type", "yarn")]), "cannot be run here"),
        ("words.gguf", noise(2 << 20), "not a GGUF model file"),
    ] {
        loopback.file(&format!("someone/models/{file}"), &bytes);
        let (code, out, err) = pull(file);
        assert_eq!((code, out.as_str()), (3, ""), "{err}");
        assert!(err.contains(&format!("someone/models:{file} was not downloaded: ")), "{err}");
        assert!(err.contains(why), "{err}");
        assert!(ranges(&loopback).iter().all(Option::is_some), "{file}");
    }
}

#[test]
fn where_no_parts_are_served_weights_alone_are_compared() {
    let (home, loopback) = (home(), Loopback::start());
    loopback.file("someone/models/tiny.gguf", &Tiny::default().bytes());
    loopback.ways(|ways| ways.ranges = false);
    let (code, _, err) = run(&mut at(&home, &loopback, &["pull", "someone/models"]));
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("the hub sends no part of a file alone"), "{err}");
    assert!(err.contains("available: may fit\n"), "{err}");
    // Other bytes than those asked for are no part either.
    loopback.file("someone/models/other.gguf", &Tiny { seed: 2, ..Tiny::default() }.bytes());
    loopback.ways(|ways| (ways.ranges, ways.shifts) = (true, true));
    let (code, _, err) = run(&mut at(&home, &loopback, &["pull", "someone/models:other.gguf"]));
    assert!(code == 0 && err.contains("available: may fit\n"), "{err}");
}

#[test]
fn a_part_is_asked_for_again_where_a_connection_breaks() {
    let (home, loopback) = (home(), Loopback::start());
    loopback.file("someone/models/tiny.gguf", &Tiny::default().bytes());
    loopback.ways(|ways| ways.drops = [1000].into());
    let (code, _, err) = run(&mut at(&home, &loopback, &["pull", "someone/models"]));
    assert!(code == 0 && err.contains(" for 256 tokens, of "), "{err}");
    let asked = ranges(&loopback);
    assert!(asked.len() == 3 && asked[0] == asked[1] && asked[2].is_none(), "{asked:?}");
}

#[test]
fn a_folder_of_ones_own_is_never_removed() {
    let (home, loopback) = (home(), Loopback::start());
    let folder = Folder::random();
    folder.write(1);
    let output = home.path().join("x.gguf");
    let mut command = at(&home, &loopback, &["quantize", "--remove-source", "-o"]);
    let (code, _, err) = run(command.arg(&output).arg(folder.path()));
    assert!(code == 2 && err.contains("is no repository of the hub"), "{err}");
    assert!(!output.exists() && folder.path().join("config.json").is_file());
}

#[test]
fn two_processes_pull_one_file() {
    let (home, loopback) = (home(), Loopback::start());
    loopback.file(&format!("{REPO}/{FILE}"), &noise(300_000));
    loopback.ways(|ways| ways.holds_until = 2);
    let both = std::thread::scope(|scope| {
        let pull = || run(&mut at(&home, &loopback, &["pull", "llama-2-7b-chat"]));
        [scope.spawn(pull), scope.spawn(pull)].map(|one| one.join().expect("an end"))
    });
    let [(0, first, _), (0, second, _)] = &both else { panic!("{both:?}") };
    assert_eq!(first, second);
    assert_eq!(fs::read(first.trim_end()).expect("the file"), noise(300_000));
    let bodies = loopback.seen();
    assert_eq!(bodies.iter().filter(|seen| seen.path.starts_with("/bytes/")).count(), 1);
}

#[test]
fn half_precision_weights_are_quantized_on_the_way() {
    let (home, loopback) = (home(), Loopback::start());
    let folder = Folder::random();
    folder.write(3);
    let repo = "meta-llama/Llama-2-7b-chat-hf";
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        loopback.file(&format!("{repo}/{name}"), &fs::read(&path).expect("a file"));
    }
    // What the index does not name is not needed.
    loopback.file(&format!("{repo}/other.safetensors"), b"not weights");
    for quant in ["Q4_K", "q8_0"] {
        let pull = ["pull", repo, "--quant", quant];
        let (code, path, err) = run(&mut at(&home, &loopback, &pull));
        assert_eq!(code, 0, "{err}");
        assert!(err.contains("3 files of half-precision weights"), "{err}");
        assert!(path.contains(&quant.to_lowercase()), "{path}");
        assert!(loopback.seen().iter().all(|seen| !seen.path.contains("other")));
        // It is kept: nothing is asked for its weights again.
        assert_eq!(run(&mut at(&home, &loopback, &pull)).1, path);
        assert!(loopback.seen().iter().all(|seen| seen.path.starts_with("/api/")));
        // It opens: a context of 256 has no room for the system message.
        let ask = ["ask", "hello", "--model", repo, "--quant", quant];
        let (code, _, err) = run(&mut at(&home, &loopback, &ask));
        assert!(code == 5 && err.contains("the context is 256"), "{code}: {err}");
    }
    // And by hand, into any file: the weights are here.
    let file = home.path().join("by-hand.gguf");
    let quantize = ["quantize", repo, "--to", "q6_k", "-o", file.to_str().expect("a path")];
    let (code, _, err) = run(&mut at(&home, &loopback, &quantize));
    assert!(code == 0 && file.is_file(), "{err}");
    assert!(loopback.seen().iter().all(|seen| !seen.path.starts_with("/bytes/")));
    let size = fs::metadata(&file).expect("a file").len() as f64 / f64::from(1 << 20);
    assert!(err.contains(&format!("by-hand.gguf: {size:.1} MiB\ndisk: ")), "{size} {err}");
    let cached = home.path().join("hub/models--meta-llama--Llama-2-7b-chat-hf");
    let stay = format!("downloaded stay in {}: remove that folder", cached.display());
    assert!(err.contains(&stay), "{err}");
    // Once more, and then they are no longer here; what was quantized is.
    let again = home.path().join("again.gguf");
    let mut command = at(&home, &loopback, &["quantize", repo, "--remove-source", "-o"]);
    let (code, _, err) = run(command.arg(&again));
    assert!(code == 0 && again.is_file(), "{err}");
    if cfg!(unix) {
        assert!(err.contains(" of weights that were downloaded\n"), "{err}");
        let left = fs::read_dir(cached.join("snapshots").join(loopback::COMMIT)).expect("a folder");
        let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        let name = |name: &&std::ffi::OsString| name.to_string_lossy().ends_with(".safetensors");
        assert_eq!((left.iter().find(name), left.len() > 2), (None, true), "{left:?}");
    }
    fs::remove_dir_all(&cached).expect("removed");
    let (_, out, err) = run(&mut at(&home, &loopback, &["models"]));
    for quant in ["q4_k", "q8_0"] {
        assert!(out.contains(&format!("{repo} --quant {quant} ")), "{out}{err}");
    }
    assert!(out.contains("Quantized here\n") && out.contains("  2 models in "), "{out}");
    let ask = ["ask", "hello", "--model", repo, "--quant", "q8_0"];
    assert_eq!(run(&mut at(&home, &loopback, &ask)).0, 5);
}
