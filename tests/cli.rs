//! The whole program, as a shell sees it: flags, exit codes and faces.

mod program;

use std::fs;
use std::path::PathBuf;

use program::{ANSWER, POWER, Place, agent, run, scripted};
use serde_json::Value;

#[test]
fn ask_prints_the_answer_alone() {
    let script = Place::new();
    let file = script.file("power", POWER);
    for args in [&["ask", "what is 4**2.1"][..], &["ask", "what", "is", "4**2.1"]] {
        assert_eq!(run(&mut scripted(&file, args)), (0, ANSWER.into(), String::new()));
    }
    let piped = run(scripted(&file, &["ask", "-"]).write_stdin("what is\n4**2.1\n"));
    assert_eq!(piped, (0, ANSWER.into(), String::new()));
}

#[test]
fn the_trace_goes_to_standard_error() {
    let place = Place::new();
    let file = place.file("power", POWER);
    let (code, out, err) = run(&mut scripted(&file, &["ask", "-v", "what is 4**2.1"]));
    assert_eq!((code, out.as_str()), (0, ANSWER));
    for line in [
        "question: what is 4**2.1",
        "step 1: ",
        "\"action_input\": \"4**2.1\"",
        "new tokens in ",
        "repaired: no_fence",
        "call: Calculator: 4**2.1",
        "observation: 18.37917367995256",
        "step 2: ",
        "answered in 2 steps, ",
    ] {
        assert!(err.contains(line), "{line}:\n{err}");
    }
}

#[test]
fn colour_is_for_terminals_or_on_demand() {
    let place = Place::new();
    let file = place.file("power", POWER);
    let colours = |args: &[&str], name: &str, value: &str| {
        let (code, out, err) = run(scripted(&file, args).env(name, value));
        assert_eq!((code, out.as_str()), (0, ANSWER));
        err.contains('\u{1b}')
    };
    assert!(!colours(&["ask", "-v", "q"], "TERM", "xterm"));
    assert!(colours(&["ask", "-v", "q", "--color", "always"], "TERM", "xterm"));
    assert!(colours(&["ask", "-v", "q"], "CLICOLOR_FORCE", "1"));
    assert!(!colours(&["ask", "-v", "q"], "NO_COLOR", "1"));
    assert!(!colours(&["ask", "-v", "q", "--color", "never"], "CLICOLOR_FORCE", "1"));
}

#[test]
fn exit_codes_are_as_documented() {
    let place = Place::new();
    let answer = place.file("answer", POWER);
    let none = place.file("none", "no\n---\nno\n---\nno");
    let empty = place.file("short", "{\"action\": \"Calculator\", \"action_input\": \"1\"}");
    let good =
        place.file("good.txt", "> a\n< {\"action\": \"Final Answer\", \"action_input\": \"b\"}");
    let bad = place.file(
        "bad.txt",
        "> a\n< {\"action\": \"Final Answer\", \"action_input\": \"b\"}\nsteps: 2",
    );
    let name = |path: &PathBuf| path.display().to_string();
    let cases: Vec<(i32, Vec<String>, &str)> = [
        (0, vec!["--help"], "", None),
        (0, vec!["--version"], "", None),
        (0, vec!["ask", "q"], "", Some(&answer)),
        (0, vec!["test", &name(&good)], "", None),
        (1, vec!["test", &name(&good), &name(&bad)], "", None),
        (1, vec!["test", "/no/such/file.txt"], "", None),
        (1, vec!["ask", "q"], "no reply left", Some(&empty)),
        (1, vec!["ask", "q", "--prompts", "/no/such/folder"], "/no/such/folder", Some(&answer)),
        (2, vec!["ask"], "QUESTION", None),
        (2, vec!["ask", " "], "the question is empty", Some(&answer)),
        (2, vec!["--temperature", "hot"], "at least 0", None),
        (2, vec!["--top-p", "2"], "up to 1", None),
        (2, vec!["--dialect", "latin"], "llama-2", None),
        (2, vec!["--nonsense"], "--nonsense", None),
        (2, vec!["test"], "FILE", None),
        (2, vec!["test", "--json", &name(&good)], "--junit", None),
        (3, vec!["ask", "q", "--model", "/no/such/model.gguf"], "--model", None),
        (3, vec!["ask", "q", "--model", &name(&answer)], "GGUF", None),
        (3, vec!["ask", "q", "--script", "/no/such/script"], "/no/such/script", None),
        (4, vec!["ask", "q"], "no answer", Some(&none)),
        (5, vec!["ask", "q", "--context", "600"], "does not fit", Some(&answer)),
    ]
    .into_iter()
    .map(|(code, args, said, script)| {
        let mut args: Vec<String> = args.into_iter().map(String::from).collect();
        args.extend(script.map(|path| format!("--script={}", path.display())));
        (code, args, said)
    })
    .collect();
    for (expected, args, said) in cases {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (code, out, err) = run(&mut agent(&args));
        assert_eq!(code, expected, "{args:?}\n{out}{err}");
        assert!(err.contains(said), "{args:?}: {err}");
        let quiet = code == 0 || (code == 1 && args[0] == "test");
        assert_eq!(err.is_empty(), quiet, "{args:?}: {err}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        eprintln!("skipped: there is no /dev/full here");
        return;
    };
    let place = Place::new();
    let script = place.file("power", POWER);
    let output = program::process()
        .args(["ask", "q", "--script"])
        .arg(script)
        .stdout(full)
        .output()
        .expect("a run");
    assert_eq!(output.status.code(), Some(1));
    assert!(!output.stderr.is_empty());
}

#[cfg(not(feature = "embedded-model"))]
#[test]
fn without_a_model_the_program_says_what_to_do() {
    let (code, out, err) = run(&mut agent(&["ask", "q"]));
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("--model PATH.gguf"), "{err}");
}

#[test]
fn help_documents_exit_codes_flags_and_the_file_format() {
    let (_, short, _) = run(&mut agent(&["-h"]));
    let (_, long, _) = run(&mut agent(&["--help"]));
    let (_, test, _) = run(&mut agent(&["test", "--help"]));
    for text in [&short, &long, &test] {
        for part in ["Exit codes:", "130  interrupted", "--model", "--top-p", "--json", "--strict"]
        {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
    assert!(long.contains("--script") && !short.contains("--script"));
    assert!(test.contains("number: N [± T]") && test.contains("--junit"));
}

#[test]
fn json_lines_are_objects_in_order() {
    let place = Place::new();
    let file = place.file("power", POWER);
    for (command, input) in [(&["ask", "what"][..], ""), (&["chat"], "what\n")] {
        let mut command = scripted(&file, command);
        let (code, out, err) = run(command.arg("--json").write_stdin(input));
        assert_eq!((code, err.as_str()), (0, ""));
        let lines: Vec<Value> =
            out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert!(lines.iter().all(|line| line["v"] == 1));
        let events: Vec<_> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
        let step = ["step", "text", "reply", "repaired"];
        let expected = [&["question"], &step[..], &["call", "observation"], &step, &["done"]];
        assert_eq!(events, expected.concat());
        assert_eq!(lines[lines.len() - 1]["answer"], ANSWER.trim());
    }
}

#[test]
fn a_failing_engine_is_an_event_too() {
    let place = Place::new();
    let file = place.file("short", "{\"action\": \"Calculator\", \"action_input\": \"1\"}");
    let (code, out, _) = run(&mut scripted(&file, &["ask", "q", "--json"]));
    let last: Value = serde_json::from_str(out.lines().last().expect("a line")).expect("JSON");
    assert_eq!((code, last["event"].as_str()), (1, Some("error")));
}
