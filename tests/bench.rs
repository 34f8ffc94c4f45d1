//! `agent bench`: what it prints of a tiny model, what it writes, and that a
//! conversation that is replayed costs what it cost when it was held.

mod program;

use std::path::Path;

use program::{Place, agent, run};
use serde_json::Value;

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/conversation-scripted.txt");

fn json(args: &[&str]) -> Value {
    let mut all = vec!["bench", "--json"];
    all.extend(args);
    let (code, out, err) = run(&mut agent(&all));
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    serde_json::from_str(&out).expect("one object")
}

/// All that is counted of each turn.
fn counts(turns: &Value) -> Vec<Vec<u64>> {
    let count = |turn: &Value| -> Vec<u64> {
        [
            "steps",
            "prompt_tokens",
            "reused_tokens",
            "new_tokens",
            "passes",
            "forced_tokens",
            "drafted_tokens",
            "accepted_tokens",
        ]
        .map(|name| turn[name].as_u64().unwrap_or_else(|| panic!("no {name} in {turn}")))
        .into()
    };
    turns["turns"].as_array().expect("turns").iter().map(count).collect()
}

#[test]
fn every_part_of_a_model_is_measured() {
    let report = json(&["--shape=tiny", "--quant=q4_k", "--context=40"]);
    assert_eq!(report["model"], "tiny in Q4_K, random weights");
    assert_eq!(report["interrupted"], false);
    let [at] = &report["contexts"].as_array().expect("contexts")[..] else { panic!("{report}") };
    assert_eq!((&at["context"], &at["prefill"]["tokens"]), (&40.into(), &40.into()));
    let costs = at["columns"].as_array().expect("costs");
    let columns: Vec<_> = costs.iter().map(|cost| cost["columns"].as_u64()).collect();
    assert_eq!(columns, [1, 2, 4, 8, 16].map(Some));
    // Two layers of two heads of 64 keys and values in f32.
    assert_eq!(report["memory"]["cache_of_a_token"], 2 * 2 * 2 * 64 * 4);
    // An embedding of 32,000 rows of 256 in 4.5 bits is not read in a pass.
    let bytes = |name: &str| report["memory"][name].as_u64().expect("bytes");
    assert_eq!(bytes("weights") - bytes("read_in_a_pass"), 32_000 * 256 / 256 * 144);
    for number in [
        &report["load_seconds"],
        &report["bandwidth"]["bytes_per_second"],
        &at["bandwidth_share"],
        &at["prefill"]["tokens_per_second"],
        &at["decode"]["tokens_per_second"],
        &costs[4]["seconds"],
        &costs[4]["ratio"],
    ] {
        assert!(number.as_f64().is_some_and(|number| number > 0.0), "{report}");
    }
}

#[test]
fn a_person_gets_a_line_for_each_part() {
    let (code, out, err) = run(&mut agent(&["bench", "--shape", "tiny", "--context", "20"]));
    assert_eq!(code, 0, "{err}");
    let names: Vec<_> = out.lines().map(|line| line.split(' ').next().unwrap_or("")).collect();
    let pass = ["Pass"; 5];
    let before = ["Model", "On", "Load", "Bandwidth", "Prefill", "Decode"];
    assert_eq!(names, [&before[..], &pass[..], &["Memory"]].concat(), "{out}");
    assert!(out.contains("20 of 20 tokens in ") && out.contains("of the bandwidth"), "{out}");
}

#[test]
fn a_file_of_random_weights_is_the_model_in_memory() {
    let place = Place::new();
    let file = place.folder.path().join("tiny.gguf");
    let file = file.to_str().expect("a path");
    let write = || run(&mut agent(&["bench", "--shape=tiny", "--write", file]));
    let (code, out, err) = write();
    assert_eq!(code, 0, "{err}");
    assert_eq!(out, format!("tiny in Q4_0, random weights is in {file}\n"));
    let (code, _, err) = write();
    assert!(code == 1 && err.contains("is there already"), "{err}");
    let ours = json(&["--shape=tiny", "--replay", RECORDING]);
    let read = json(&["--model", file, "--replay", RECORDING]);
    for how in ["processed", "restored"] {
        assert_eq!(counts(&ours[how]), counts(&read[how]), "{how}");
    }
}

#[test]
fn a_system_message_that_is_restored_is_not_processed() {
    let report = json(&["--shape=tiny", "--replay", RECORDING]);
    let (processed, restored) = (counts(&report["processed"]), counts(&report["restored"]));
    assert_eq!((processed.len(), restored.len()), (3, 3));
    const REUSED: usize = 2;
    const PASSES: usize = 4;
    assert_eq!(processed[0][REUSED], 0);
    // Whole pieces of it.
    assert!(restored[0][REUSED] >= 256 && restored[0][REUSED] < restored[0][1], "{report}");
    assert!(restored[0][PASSES] < processed[0][PASSES], "{report}");
    // Nothing else differs, whatever the random weights would have said.
    for (turn, (a, b)) in processed.iter().zip(&restored).enumerate() {
        let same = |counts: &[u64]| [&counts[..REUSED], &counts[PASSES + 1..]].concat();
        assert_eq!(same(a), same(b), "turn {turn}");
    }
    assert_eq!(processed[1..], restored[1..]);
    let alone = json(&["--shape=tiny", "--no-snapshot", "--replay", RECORDING]);
    assert_eq!(counts(&alone["processed"]), processed);
    assert!(alone["restored"].is_null());
}

#[test]
fn a_guess_is_right_only_where_it_is_the_recording() {
    let replay = |more: &[&str]| {
        let args = [&["--shape=tiny", "--no-snapshot", "--replay", RECORDING], more].concat();
        counts(&json(&args)["processed"])
    };
    let (with, without, asked) = (replay(&[]), replay(&["--draft=0"]), replay(&["--no-force"]));
    for ((with, without), asked) in with.iter().zip(&without).zip(&asked) {
        let [_, _, _, produced, passes, forced, drafted, accepted] = with[..] else { panic!() };
        assert!(0 < accepted && accepted <= drafted && accepted + forced <= produced);
        // The same tokens, and a pass of its own for each that is not forced.
        assert_eq!((without[3], without[6], without[7]), (produced, 0, 0));
        assert!(passes < without[4]);
        assert_eq!((asked[3], asked[5]), (produced, 0));
    }
}

#[cfg(feature = "embedded-model")]
#[test]
fn a_replayed_conversation_costs_what_it_cost_when_it_was_held() {
    let questions = "hey how are you today?\nwhat is 4 to the power of 2.1?\n\
                     can you multiply that by 3?\n";
    let mut chat = agent(&["--json", "--no-snapshot"]);
    let (code, out, err) = run(chat.write_stdin(questions));
    assert_eq!(code, 0, "{err}");
    let mut held: Vec<Vec<u64>> = Vec::new();
    for line in out.lines() {
        let event: Value = serde_json::from_str(line).expect("an event");
        match event["event"].as_str() {
            Some("question") => held.push(vec![0; 8]),
            Some("reply") => {
                let turn = held.last_mut().expect("a question before a reply");
                turn[0] += 1;
                for (sum, name) in turn[1..].iter_mut().zip([
                    "prompt_tokens",
                    "reused_tokens",
                    "new_tokens",
                    "passes",
                    "forced_tokens",
                    "drafted_tokens",
                    "accepted_tokens",
                ]) {
                    *sum += event[name].as_u64().unwrap_or_else(|| panic!("no {name}: {line}"));
                }
            }
            _ => {}
        }
    }
    let place = Place::new();
    let file = place.folder.path().join("recording.txt");
    let file = file.to_str().expect("a path");
    let record = || run(&mut agent(&["bench", "--record", file]));
    let (code, _, err) = record();
    assert_eq!(code, 0, "{err}");
    let replayed = json(&["--replay", file]);
    assert_eq!(counts(&replayed["processed"]), held);
    // A recording cannot be made again.
    let (code, _, err) = record();
    assert!(code == 1 && err.contains(file), "{err}");
    // The file is a conversation like any other.
    let (code, out, _) = run(&mut agent(&["test", file]));
    assert_eq!(code, 0, "{out}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let place = Place::new();
    let questions = place.file("questions.txt", "> what is 1+1?\n");
    let weather = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/unknown-tool.txt");
    let short =
        place.file("short.txt", "> hi\n< {\"action\": \"Calculator\", \"action_input\": \"1\"}\n");
    let path = |path: &Path| path.to_str().expect("a path").to_string();
    let model = path(&place.file("model.gguf", "no model"));
    for (args, code, what) in [
        (vec!["--shape=8b"], 2, "possible values: 70b, 13b, 7b, tiny"),
        (vec!["--shape=tiny", "--quant=q3"], 2, "one of Q4_0, Q4_K, Q5_K, Q6_K, Q8_0"),
        (vec!["--write=x.gguf"], 2, "--shape"),
        (vec!["--model=no/such.gguf"], 3, "no/such.gguf"),
        (vec!["--model", &model], 3, "GGUF"),
        (vec!["--model=http://127.0.0.1:1/v1"], 3, "not from here"),
        (vec!["--shape=tiny", "--replay=no/such.txt"], 1, "no/such.txt"),
        (vec!["--shape=tiny", "--replay", &path(&questions)], 1, "--record"),
        (vec!["--shape=tiny", "--replay", &path(&weather)], 1, "--no-grammar"),
        // The recording ends before the turn does.
        (vec!["--shape=tiny", "--replay", &path(&short)], 1, "no reply left"),
    ] {
        let mut all = vec!["bench"];
        all.extend(&args);
        let (exit, out, err) = run(&mut agent(&all));
        assert_eq!(exit, code, "{args:?}: {out}{err}");
        assert!(err.contains(what), "{args:?}: {err}");
    }
    let weather = ["--shape=tiny", "--no-snapshot", "--no-grammar", "--replay", &path(&weather)];
    assert_eq!(counts(&json(&weather)["processed"]).len(), 1);
}
