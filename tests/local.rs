//! A local model's replies: where they end, what is shown of them, what the
//! repetition penalty reaches, and what the cache holds afterwards.

mod puppet;
mod support;

use std::sync::atomic::Ordering;

use anyhow::Result;
use llama_agent::chat::{Cancel, Origin, Prompt, ReplyForm, Sampling, Segment};
use llama_agent::decode::Switches;
use llama_agent::llama::{Forward, Want};
use llama_agent::llm::local::Local;
use llama_agent::llm::{Completion, End, Llm, LlmError, Request};
use proptest::prelude::*;
use puppet::{CHUNK, Puppet, tokenizer};
use support::{Random, Tiny};

/// Any reply, guesses and all.
const FREE: Switches = Switches { form: false, force: false, draft: 8, cache: true };

/// Any reply, token by token.
const UNAIDED: Switches = Switches { draft: 0, ..FREE };

fn prompt() -> Prompt {
    Prompt::from_iter([
        Segment::new(Origin::Frame, "<s>the action is the action\nUser:"),
        Segment::new(Origin::Person, " what is 1+1 and what is 2+2"),
        Segment::new(Origin::Frame, "\nAssistant:"),
    ])
}

fn form() -> ReplyForm {
    let stop_lines = ["Observation:", "User:", "[INST]"].map(String::from).to_vec();
    ReplyForm { lead: " ", tools: Vec::new(), stop_lines }
}

/// Completes the prompt; checks what holds for every completion.
fn complete(local: &mut Local, sampling: &Sampling, cancel: &Cancel, max: usize) -> Completion {
    let (prompt, form) = (prompt(), form());
    let request = Request { prompt: &prompt, form: &form, sampling, max_new_tokens: max, cancel };
    let mut shown = String::new();
    let completion = local.complete(&request, &mut |text| shown.push_str(text)).unwrap();
    let Completion { reply, stats, .. } = &completion;
    let ids = reply.ids.as_ref().unwrap();
    assert_eq!(shown, reply.text);
    assert_eq!(String::from_utf8_lossy(&local.tokenizer().decode(ids)), reply.text);
    assert_eq!((reply.origin, stats.produced), (Origin::Model, ids.len()));
    assert_eq!(stats.prompt, local.count(&prompt).unwrap());
    completion
}

/// What comes of a model that wants to write `text`, and its puppet's strings.
fn say(ids: Vec<u32>, penalty: f32, max: usize) -> Completion {
    let tokenizer = tokenizer();
    let puppet = Puppet::new(tokenizer.encode_prompt(&prompt()).len(), ids);
    let mut local = Local::new(Box::new(puppet), tokenizer).unwrap().with(FREE);
    let sampling = Sampling { repeat_penalty: penalty, ..Sampling::default() };
    complete(&mut local, &sampling, &Cancel::new(), max)
}

fn say_text(text: &str) -> Completion {
    say(tokenizer().encode(text, false, false), 1.1, 512)
}

fn answer(text: &str) -> String {
    format!("```json\n{{\"action\": \"Final Answer\",\n \"action_input\": \"{text}\"}}\n```")
}

#[test]
fn a_result_survives_the_penalty() {
    for text in [
        "1082152022374638 is 1082152022374638",
        "18.37917367995256, 18.37917367995256!",
        "1.5e+21 e e e",
        "{{}} \\\"a\\\" \\\"a\\\", : : - -",
        "🦙🦙🦙",
    ] {
        let completion = say_text(&answer(text));
        assert_eq!(completion.reply.text, answer(text));
        assert_eq!(completion.end, End::Closed);
    }
    // A tool's input is copied too, words and all.
    let call =
        "```json\n{\"action\": \"Calculator\",\n \"action_input\": \"the the the what\"}\n```";
    assert_eq!(say_text(call).reply.text, call);
}

#[test]
fn the_penalty_reaches_words_of_the_answer() {
    let repeated = answer("the action is the action");
    assert_ne!(say_text(&repeated).reply.text, repeated);
    let ids = tokenizer().encode(&repeated, false, false);
    assert_eq!(say(ids, 1.0, 512).reply.text, repeated);
    // The prompt has these words twice: it is out of reach.
    let once = answer("the action is what");
    assert_eq!(say_text(&once).reply.text, once);
}

#[test]
fn a_reply_ends_where_it_should() {
    let done = answer("on");
    for (written, kept, end) in [
        (format!("{done}\nObservation: 42"), done.as_str(), End::Closed),
        ("thinking\nObservation: 42".into(), "thinking", End::Turn),
        ("thinking \n\n  User: and".into(), "thinking", End::Turn),
        ("Observation: 42".into(), "", End::Turn),
        ("a User: b\nUsers\nObserved".into(), "a User: b\nUsers\nObserved", End::Turn),
        ("trailing\nObs".into(), "trailing\nObs", End::Turn),
        ("".into(), "", End::Turn),
    ] {
        let completion = say_text(&written);
        assert_eq!((completion.reply.text.as_str(), completion.end), (kept, end), "{written:?}");
    }
}

#[test]
fn a_token_that_reaches_past_the_end_is_cut() {
    // A piece of the vocabulary that begins with the brace that ends a reply.
    let tokenizer = tokenizer();
    let text = "{\"action\": \"no\", \"action_input\": 1}";
    let mut ids = tokenizer.encode(&text[..text.len() - 1], false, false);
    let before = ids.len();
    ids.push(support::BRACED);
    assert_eq!(tokenizer.piece(support::BRACED), b"}th");
    let completion = say(ids, 1.0, 512);
    assert_eq!((completion.reply.text.as_str(), completion.end), (text, End::Closed));
    let kept = completion.reply.ids.unwrap();
    assert_eq!(kept.len(), before + 1);
    assert_eq!(tokenizer.piece(kept[before]), b"}");
}

#[test]
fn length_counts_tokens_and_never_leaves_half_a_character() {
    let ids = tokenizer().encode("a🦙b", false, false);
    assert_eq!(ids.len(), 6);
    for (max, text) in [(0, ""), (1, "a"), (2, "a"), (4, "a"), (5, "a🦙"), (6, "a🦙b")] {
        let completion = say(ids.clone(), 1.0, max);
        assert_eq!(completion.reply.text, text, "{max} tokens");
        assert_eq!(completion.end, End::Length);
    }
}

#[test]
fn what_does_not_fit_costs_nothing() {
    let tokenizer = tokenizer();
    let length = tokenizer.encode_prompt(&prompt()).len();
    let mut puppet = Puppet::new(length, Vec::new());
    puppet.context = length + 9;
    let passes = puppet.passes.clone();
    let mut local = Local::new(Box::new(puppet), tokenizer).unwrap().with(FREE);
    let (prompt, form, sampling, cancel) = (prompt(), form(), Sampling::default(), Cancel::new());
    let request = Request {
        prompt: &prompt,
        form: &form,
        sampling: &sampling,
        max_new_tokens: 10,
        cancel: &cancel,
    };
    match local.complete(&request, &mut |_| {}) {
        Err(LlmError::DoesNotFit { needed, context }) => {
            assert_eq!((needed, context), (length + 10, length + 9));
        }
        other => panic!("{:?}", other.map(|completion| completion.reply)),
    }
    assert_eq!(passes.load(Ordering::SeqCst), 0);
    assert_eq!(complete(&mut local, &sampling, &cancel, 9).end, End::Turn);
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    struct Broken(Puppet);
    impl Forward for Broken {
        fn forward(
            &mut self,
            tokens: &[u32],
            want: Want,
            cancel: &Cancel,
        ) -> Result<Option<Vec<f32>>> {
            let rows = self.0.forward(tokens, want, cancel)?;
            Ok(rows.map(|rows| rows.iter().map(|_| f32::NAN).collect()))
        }
        fn truncate(&mut self, len: usize) {
            self.0.truncate(len);
        }
        fn len(&self) -> usize {
            self.0.len()
        }
        fn context(&self) -> usize {
            self.0.context()
        }
        fn vocab(&self) -> usize {
            self.0.vocab()
        }
        fn chunk(&self) -> usize {
            self.0.chunk()
        }
    }
    let engine = Broken(Puppet::new(0, Vec::new()));
    let mut local = Local::new(Box::new(engine), tokenizer()).unwrap().with(FREE);
    for temperature in [0.0, 1.0] {
        let (prompt, form, cancel) = (prompt(), form(), Cancel::new());
        let sampling = Sampling { temperature, ..Sampling::default() };
        let request = Request {
            prompt: &prompt,
            form: &form,
            sampling: &sampling,
            max_new_tokens: 10,
            cancel: &cancel,
        };
        let error = local.complete(&request, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}

#[test]
fn a_wish_to_stop_leaves_a_beginning_in_the_cache() {
    let tokenizer = tokenizer();
    let ids = tokenizer.encode_prompt(&prompt());
    let script = tokenizer.encode(&answer("what is on"), false, false);
    let whole: Vec<u32> = ids.iter().chain(&script).copied().collect();
    let chunks = ids.len().div_ceil(CHUNK);
    assert!(chunks > 2);
    for when in 1..chunks + 8 {
        let cancel = Cancel::new();
        let mut puppet = Puppet::new(ids.len(), script.clone());
        puppet.stop = Some((when, cancel.clone()));
        let held = puppet.held.clone();
        let mut local = Local::new(Box::new(puppet), crate::tokenizer()).unwrap().with(UNAIDED);
        let sampling = Sampling::default();
        let completion = complete(&mut local, &sampling, &cancel, 512);
        assert_eq!(completion.end, End::Cancelled);
        assert_eq!(completion.stats.passes, when);
        assert!(whole.starts_with(local.cached()) && *held.lock().unwrap() == local.cached());
        let expected =
            if when <= chunks { (when - 1) * CHUNK } else { ids.len() + when - chunks - 1 };
        assert_eq!(local.cached().len(), expected);
        // Whoever asks again gets the whole reply, for the rest of the work.
        cancel.reset();
        let again = complete(&mut local, &sampling, &cancel, 512);
        assert_eq!(again.reply.text, answer("what is on"));
        // At the prompt's very end its last row is needed again.
        let reused = if expected > ids.len() { ids.len() - 1 } else { expected };
        assert_eq!(again.stats.reused, reused);
    }
}

/// A real model: the same words whether or not the cache holds something.
#[test]
fn the_cache_changes_no_word() {
    let tiny = Tiny { vocab: 1024, context: 2048, seed: 5, ..Tiny::default() };
    let open = || Local::from_bytes(tiny.bytes(), None).unwrap().with(FREE);
    let mut kept = open();
    for seed in 0..4 {
        let sampling =
            Sampling { temperature: 0.8, top_k: 40, top_p: 0.95, seed, ..Sampling::default() };
        let first = complete(&mut kept, &sampling, &Cancel::new(), 60);
        let fresh = complete(&mut open(), &sampling, &Cancel::new(), 60);
        assert_eq!(first.reply, fresh.reply);
        assert!(!first.reply.text.is_empty());
        assert_eq!(fresh.stats.reused, 0);
        assert!(seed == 0 || first.stats.reused >= first.stats.prompt - 1);
    }
    // Prepared ahead, nothing is left to do before the first token.
    let mut ready = open();
    ready.prepare(&prompt(), &Cancel::new()).unwrap();
    let completion = complete(&mut ready, &Sampling::default(), &Cancel::new(), 5);
    assert_eq!(completion.stats.reused, completion.stats.prompt);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever ids a model comes up with, `complete` checks what must hold.
    #[test]
    fn any_ids_make_a_consistent_reply(seed in any::<u64>(), max in 0usize..40) {
        let mut random = Random(seed);
        // Many bytes and line breaks, to meet broken characters and stops.
        let ids = (0..40).map(|_| match random.next() % 3 {
            0 => 3 + (random.next() % 256) as u32,
            1 => 259 + (random.next() % 700) as u32,
            _ => [13, 263, 3 + 0xf0, 3 + 0x9f, 3 + 0xa6][(random.next() % 5) as usize],
        });
        say(ids.collect(), 1.1, max);
    }
}
