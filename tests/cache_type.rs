//! `--cache-type`: how far logits are from those with a cache in f32, the same
//! tokens whichever way they are come by, and what a person sees.

mod program;
mod support;

use llama_agent::chat::Cancel;
use llama_agent::llama::portable::Precision;
use llama_agent::llama::{CacheType, Forward, Gguf, Portable, Want};
use program::{Place, agent, run};
use support::{Random, Tiny};

fn engine(gguf: &Gguf, cache: CacheType) -> Portable {
    Portable::with_precision(gguf, None, Precision::Float).expect("an engine").with_cache(cache)
}

fn tokens(count: usize) -> Vec<u32> {
    let mut random = Random(3);
    (0..count).map(|_| (random.next() % 512) as u32).collect()
}

/// Logits after every token, which arrive in pieces of this size.
fn rows(engine: &mut Portable, tokens: &[u32], size: usize) -> Vec<f32> {
    engine.truncate(0);
    let pass = |piece| engine.forward(piece, Want::All, &Cancel::new());
    let rows = tokens.chunks(size).map(pass);
    rows.flat_map(|rows| rows.expect("a pass").expect("not cancelled")).collect()
}

/// ‖ours - reference‖ / ‖reference‖ of the worst row.
fn worst(ours: &[f32], reference: &[f32]) -> f32 {
    let rows = ours.chunks(512).zip(reference.chunks(512)).map(|(ours, reference)| {
        let distance: f32 = ours.iter().zip(reference).map(|(a, b)| (a - b).powi(2)).sum();
        let size: f32 = reference.iter().map(|b| b * b).sum();
        (distance / size).sqrt()
    });
    rows.fold(0.0, f32::max)
}

/// Of a normal distribution, a value in f16 is off by 0.02% of the deviation (root
/// mean square; 2^-11 of itself at most), one in q8_0 by 0.5%: 1/254 at most of the
/// largest of 32, which is 2.1 deviations, evenly spread. How far that carries
/// depends on the model; that it is 25 times as far does not.
#[test]
fn logits_are_near_those_of_a_cache_in_f32() {
    let mut off = [0.0f32; 2];
    for (heads, kv_heads) in [(2, 1), (4, 2), (8, 8), (16, 4)] {
        // Heads of 128, 64, 32 and 16.
        let tiny = Tiny { dim: 256, heads, kv_heads, layers: 3, scale: 0.05, ..Tiny::default() };
        let gguf = Gguf::from_bytes(tiny.bytes()).expect("a model");
        let tokens = tokens(200);
        let reference = rows(&mut engine(&gguf, CacheType::F32), &tokens, 50);
        let spread = reference.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
        assert!(spread > 0.5, "logits too flat to tell anything: {spread}");
        for (off, cache) in off.iter_mut().zip([CacheType::F16, CacheType::Q8_0]) {
            let worst = worst(&rows(&mut engine(&gguf, cache), &tokens, 50), &reference);
            println!("heads of {}, {cache}: the worst row is {worst:.1e} off", 256 / heads);
            *off = off.max(worst);
        }
    }
    let [half, byte] = off;
    assert!(half > 0.0 && half < F16, "{half}");
    assert!(byte > 10.0 * half && byte < Q8_0, "{byte}");
}

/// Twice what was measured.
const F16: f32 = 8e-4;
const Q8_0: f32 = 2e-2;

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    // Past the room that is made at first; heads of 48 have a block of 16 at the end.
    let tokens = tokens(1100);
    for (dim, heads) in [(64, 2), (96, 2)] {
        let tiny = Tiny { dim, heads, kv_heads: 1, context: 2048, ..Tiny::default() };
        let gguf = Gguf::from_bytes(tiny.bytes()).expect("a model");
        let mut engine = engine(&gguf, CacheType::Q8_0);
        let whole = rows(&mut engine, &tokens, 1100);
        for size in [1, 7, 256] {
            assert!(rows(&mut engine, &tokens, size) == whole, "{dim} in pieces of {size}");
        }
        // What was forgotten leaves nothing behind.
        let saved = engine.export(1001).expect("rows");
        engine.truncate(1001);
        assert!(engine.export(1001).expect("rows") == saved);
        let rest = engine.forward(&tokens[1001..], Want::All, &Cancel::new()).expect("a pass");
        assert!(rest.expect("not cancelled") == whole[1001 * 512..]);
        rows(&mut engine, &tokens[5..], 300);
        engine.import(&saved).expect("the rows fit");
        let rest = engine.forward(&tokens[1001..], Want::All, &Cancel::new()).expect("a pass");
        assert!(rest.expect("not cancelled") == whole[1001 * 512..]);
    }
}

#[test]
fn a_type_that_there_is_not_is_a_persons_error() {
    let place = Place::new();
    let (code, out, err) = run(&mut agent(&["ask", "--cache-type", "nonsense", "hello"]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("'nonsense' for '--cache-type") && err.contains("q8_0"), "{err}");
    let (code, _, err) = run(agent(&["ask", "hello"]).env("AGENT_CACHE_TYPE", "q8"));
    assert!(code == 2 && err.contains("AGENT_CACHE_TYPE: invalid value 'q8'"), "{err}");
    let config = place.file("config.toml", "cache-type = \"q8_0\"\n");
    let (code, out, _) = run(agent(&["config", "--config"]).arg(&config));
    assert!(code == 0 && out.contains("cache-type = \"q8_0\""), "{out}");
}

/// What a model replied to a question in all, tokens that it did not have to
/// process, and guesses that were right.
#[cfg(feature = "embedded-model")]
fn replies(folder: &std::path::Path, more: &[&str]) -> (Vec<String>, u64, u64) {
    let mut command = agent(&["ask", "--json", "what is 4**2.1", "--snapshots"]);
    let (code, out, err) = run(command.arg(folder).args(more));
    assert_eq!((code, err.as_str()), (0, ""), "{more:?}");
    assert!(out.contains("18.37917367995256"), "{more:?}: {out}");
    let events =
        out.lines().map(|line| -> serde_json::Value { serde_json::from_str(line).expect("JSON") });
    let replies: Vec<_> = events.filter(|event| event["event"] == "reply").collect();
    let sum = |key: &str| replies.iter().filter_map(|reply| reply[key].as_u64()).sum();
    let texts = replies.iter().map(|reply| reply["text"].to_string()).collect();
    (texts, sum("reused_tokens"), sum("accepted_tokens"))
}

#[cfg(feature = "embedded-model")]
#[test]
fn the_model_in_the_box_answers_with_each_and_switches_change_no_token() {
    for kind in ["f32", "f16", "auto", "q8_0"] {
        let place = Place::new();
        let ask_with = |kind: &str, more: &[&str]| {
            replies(place.folder.path(), &[&["--cache-type", kind], more].concat())
        };
        let ask = |more: &[&str]| ask_with(kind, more);
        let (texts, first, guessed) = ask(&[]);
        assert!(guessed > 0, "no guess was right");
        if kind != "q8_0" {
            continue;
        }
        // From a snapshot, which a cache of another type has no use for.
        let (again, reused, _) = ask(&[]);
        assert!(again == texts && reused > first + 500, "{first} and {reused} reused");
        let (_, other, _) = ask_with("f16", &[]);
        assert_eq!(other, first);
        for more in [&["--no-snapshot"][..], &["--draft=0"], &["--no-force"], &["--no-cache"]] {
            assert_eq!(ask(more).0, texts, "{more:?}");
        }
    }
}

#[test]
fn what_the_engine_holds_is_reported() {
    let place = Place::new();
    let path = place.folder.path().join("m.gguf");
    let tiny = Tiny { dim: 256, heads: 2, kv_heads: 2, context: 512, ..Tiny::default() };
    std::fs::write(&path, tiny.bytes()).expect("written");
    let path = path.display().to_string();
    let cache = |kind: &str| {
        let args = ["bench", "--json", "--context", "64", "--model", &path, "--cache-type", kind];
        let (code, out, err) = run(&mut agent(&args));
        assert_eq!(code, 0, "{err}");
        let object: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        let memory = &object["memory"];
        // Room for twice the tokens: some are decoded after them.
        let [cache, token] = ["cache", "cache_of_a_token"].map(|key| memory[key].as_u64());
        let token = token.expect("bytes");
        assert_eq!(cache, Some(128 * token));
        token
    };
    let [float, half, byte] = ["f32", "f16", "q8_0"].map(cache);
    // 2 layers of keys and values of 2 heads of 128.
    assert_eq!(float, 2 * 2 * 2 * 128 * 4);
    assert_eq!((half * 2, byte * 32), (float, half * 17));
}
