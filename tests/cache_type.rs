//! `--cache-type`: how far logits are from those with a cache in f32, the same
//! tokens whichever way they are come by, and what a person sees.

mod program;
mod support;

use candle_core::quantized::GgmlDType;
use llama_agent::chat::{Cancel, Origin, Prompt, ReplyForm, Sampling, Segment};
use llama_agent::decode::Switches;
use llama_agent::llama::portable::Precision;
use llama_agent::llama::{CacheType, Forward, Gguf, Portable, Tokenizer, Want};
use llama_agent::llm::local::Local;
use llama_agent::llm::{Llm, Request};
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

/// A value in f16 is off by up to 2^-11 of itself, one in q8_0 by up to 1/254 of
/// the largest in its block, 8 times as much; attention takes means of many,
/// most of whose errors cancel. Measured here, worst row of any shape: see each bound.
#[test]
fn logits_are_near_those_of_a_cache_in_f32() {
    for (heads, kv_heads) in [(2, 1), (4, 2), (8, 8), (16, 4)] {
        // Heads of 128, 64, 32 and 16.
        let tiny = Tiny { dim: 256, heads, kv_heads, layers: 3, scale: 0.08, ..Tiny::default() };
        let gguf = Gguf::from_bytes(tiny.bytes()).expect("a model");
        let tokens = tokens(200);
        let reference = rows(&mut engine(&gguf, CacheType::F32), &tokens, 50);
        let spread = reference.iter().fold(0.0f32, |most, logit| most.max(logit.abs()));
        assert!(spread > 0.5, "logits too flat to tell anything: {spread}");
        let [half, byte] = [CacheType::F16, CacheType::Q8_0].map(|cache| {
            let worst = worst(&rows(&mut engine(&gguf, cache), &tokens, 50), &reference);
            println!(
                "heads of {}, {cache}: relative error of the worst row {worst:.1e}",
                256 / heads
            );
            worst
        });
        assert!(half > 0.0 && half < F16, "{half}");
        assert!(byte > half && byte < Q8_0, "{byte}");
    }
}
const F16: f32 = 1e-3;
const Q8_0: f32 = 1e-2;

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
fn switches_change_no_token() {
    let tiny = Tiny { kind: GgmlDType::Q8_0, context: 1024, ..Tiny::default() };
    let gguf = Gguf::from_bytes(tiny.bytes()).expect("a model");
    let on = Switches { form: false, force: false, ..Switches::default() };
    let mut locals: Vec<Local> = [
        on,
        Switches { draft: 0, ..on },
        Switches { draft: 30, ..on },
        Switches { cache: false, ..on },
        Switches { draft: 0, cache: false, ..on },
    ]
    .into_iter()
    .map(|switches| {
        let tokenizer = Tokenizer::from_gguf(&gguf).expect("a tokenizer");
        let engine = Box::new(engine(&gguf, CacheType::Q8_0));
        Local::new(engine, tokenizer).expect("a model").with(switches)
    })
    .collect();
    let (mut accepted, mut reused) = (0, 0);
    for seed in 0..12 {
        let prompt = Prompt::from_iter([
            Segment::new(Origin::Frame, "<s>the action is the action. the action is on.\nUser:"),
            Segment::new(Origin::Person, [" what is on", " act", " in the"][seed as usize % 3]),
            Segment::new(Origin::Frame, "\nAssistant:"),
        ]);
        let temperature = [0.0, 0.3, 1.0][seed as usize / 4];
        let replies = locals.iter_mut().map(|local| {
            let request = Request {
                prompt: &prompt,
                form: &ReplyForm { lead: " ", tools: Vec::new(), stop_lines: Vec::new() },
                sampling: &Sampling { temperature, seed, ..Sampling::default() },
                max_new_tokens: 80,
                cancel: &Cancel::new(),
            };
            let completion = local.complete(&request, &mut |_| {}).expect("a reply");
            accepted += completion.stats.accepted;
            reused += completion.stats.reused;
            completion.reply
        });
        let replies: Vec<_> = replies.collect();
        assert!(replies.iter().all(|reply| *reply == replies[0]), "seed {seed}");
    }
    println!("{accepted} guesses right, {reused} tokens reused");
    assert!(accepted > 0 && reused > 0);
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

#[cfg(feature = "embedded-model")]
#[test]
fn the_model_in_the_box_answers_with_each() {
    let mut answers = Vec::new();
    for more in [
        &["--cache-type", "q8_0"][..],
        &["--cache-type", "q8_0", "--no-snapshot"],
        &["--cache-type", "q8_0", "--draft", "0", "--no-force"],
        &["--cache-type", "q8_0", "--no-cache"],
        &["--cache-type", "f16"],
        &["--cache-type", "f32"],
        &[],
    ] {
        let place = Place::new();
        let mut command = agent(&[&["ask", "what is 4**2.1"], more].concat());
        // Once to write a snapshot, once to use it.
        for _ in 0..2 {
            let (code, out, err) = run(command.arg("--snapshots").arg(place.folder.path()));
            assert_eq!((code, err.as_str()), (0, ""), "{more:?}");
            assert!(out.contains("18.37917367995256"), "{more:?}: {out}");
            answers.push((more.contains(&"q8_0"), out));
        }
    }
    let first = answers[0].1.clone();
    assert!(answers.iter().all(|(narrow, answer)| !narrow || *answer == first));
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
        assert_eq!(memory["cache"], memory["cache_of_a_token"].as_u64().expect("bytes") * 512);
        memory["cache"].as_u64().expect("bytes")
    };
    let [float, half, byte] = ["f32", "f16", "q8_0"].map(cache);
    // 2 layers of keys and values of 2 heads of 128.
    assert_eq!(float, 512 * 2 * 2 * 2 * 128 * 4);
    assert_eq!((half * 2, byte * 32), (float, half * 17));
}
