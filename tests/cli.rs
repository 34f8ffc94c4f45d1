//! The whole program, as a shell sees it.

use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

/// A power by the Calculator, then an answer.
const POWER: &str = "\
{\"action\": \"Calculator\", \"action_input\": \"4**2.1\"}
---
{\"action\": \"Final Answer\", \"action_input\": \"It is 18.37917367995256, \\u2248 18.\"}
";
const ANSWER: &str = "It is 18.37917367995256, ≈ 18.\n";

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }
}

fn agent(args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("agent").expect("the program");
    command.args(args);
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

fn scripted(script: &PathBuf, args: &[&str]) -> Command {
    let mut command = agent(args);
    command.arg("--script").arg(script);
    command
}

/// Exit code, standard output and standard error.
fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().expect("a run");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

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
    let output = Process::new(assert_cmd::cargo::cargo_bin("agent"))
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

#[test]
fn a_list_of_questions_is_answered_line_by_line() {
    let place = Place::new();
    let script = place.file(
        "two",
        &format!("{POWER}---\n{{\"action\": \"Final Answer\", \"action_input\": \"hi\"}}"),
    );
    let (code, out, err) = run(scripted(&script, &[]).write_stdin("what is 4**2.1\r\n\n  hello"));
    assert_eq!((code, out, err.as_str()), (0, format!("{ANSWER}hi\n"), ""));
}

#[test]
fn a_list_exits_with_its_worst_turn() {
    let place = Place::new();
    let hi = "{\"action\": \"Final Answer\", \"action_input\": \"hi\"}";
    let script = place.file("worst", &format!("{hi}\n---\nno\n---\nno\n---\nno\n---\n{hi}"));
    let (code, out, err) = run(scripted(&script, &["chat"]).write_stdin("a\nb\nc\n"));
    assert_eq!((code, out.as_str()), (4, "hi\nhi\n"));
    assert!(err.contains("no answer: three replies"), "{err}");
    let (code, out, err) = run(scripted(&script, &["chat"]).write_stdin(&b"\xff\xfe\na\n"[..]));
    assert_eq!((code, out.as_str()), (1, "hi\n"));
    assert!(err.contains("line 1 is not UTF-8"), "{err}");
}

#[test]
fn commands_work_in_a_list_too() {
    let place = Place::new();
    let script = place.file("power", POWER);
    let saved = place.folder.path().join("saved.txt");
    let input = format!(
        "/tools\nwhat is 4**2.1\n/memory\n/why\n/save {0}\n/save {0}\n/hlep\n/clear\n/memory\n/exit\nq\n",
        saved.display()
    );
    let (code, out, _) = run(scripted(&script, &["chat"]).write_stdin(input));
    assert_eq!(code, 1, "saving twice and an unknown command fail");
    for part in [
        "Calculator: ",
        "1 exchange of at most 5",
        "> what is 4**2.1\nIt is 18.37917367995256",
        "--- person, 15 tokens\n what is 4**2.1\n--- frame",
        "--- model, 50 tokens\n{\"action\": \"Calculator\"",
        "tokens in all; ",
        "saved in ",
        "cannot save in ",
        "no command /hlep; did you mean /help?",
        "forgotten",
        "0 exchanges of at most 5",
    ] {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    // What was saved is a test, and it passes.
    let (code, out, _) = run(agent(&["test"]).arg(&saved));
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("1 turn: 1 passed"), "{out}");
    // It is a script as well.
    assert_eq!(run(&mut scripted(&saved, &["ask", "q"])), (0, ANSWER.into(), String::new()));
}

#[test]
fn test_reports_lines_and_writes_junit() {
    let place = Place::new();
    let hi = "< {\"action\": \"Final Answer\", \"action_input\": \"hi\"}";
    let good = place.file("good.txt", &format!("# Good\n> a <b>\n{hi}\nanswer: hi\n"));
    let wrong = place.file("wrong.txt", &format!("> a\n{hi}\nanswer: ho\n\n> b\n{hi}\n"));
    let broken = place.file("broken.txt", "> a\nanswr: x\n");
    let report = place.folder.path().join("report.xml");
    let (code, out, _) =
        run(agent(&["test"]).args([&good, &wrong, &broken]).arg("--junit").arg(&report));
    assert_eq!(code, 1);
    for part in [
        "  ok    a <b>",
        "  FAIL  a",
        "line 3: the answer is: hi",
        "line 2: there is no expectation `answr`; did you mean `answer`?",
        "3 files, 3 turns: 2 passed, 1 failed, 1 file unusable",
    ] {
        assert!(out.contains(part), "{part}:\n{out}");
    }
    let xml = fs::read_to_string(report).expect("a report");
    assert!(xml.contains("tests=\"4\" failures=\"1\" errors=\"1\""), "{xml}");
    assert!(xml.contains("name=\"1. a &lt;b&gt;\""), "{xml}");
}

#[test]
fn a_script_out_of_step_fails() {
    let place = Place::new();
    let hi = "< {\"action\": \"Final Answer\", \"action_input\": \"hi\"}";
    let left = place.file("left.txt", &format!("> a\n{hi}\n\n{hi}\n> b\n{hi}\n"));
    let (code, out, _) = run(agent(&["test"]).arg(&left));
    assert_eq!(code, 1);
    assert!(out.contains("line 1: the script has 2 replies here, 1 taken"), "{out}");
    assert!(out.contains("not run: 1 turn"), "{out}");
}

/// Runs the program with one stream closed early; a panic would exit with 101.
fn closed(args: &[String], out: bool) -> Option<i32> {
    let mut child = Process::new(assert_cmd::cargo::cargo_bin("agent"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a child");
    if out {
        drop(child.stdout.take());
    } else {
        drop(child.stderr.take());
    }
    let mut input = child.stdin.take().expect("its input");
    // The child may be gone already.
    let _ = input.write_all(b"one\ntwo\n");
    drop(input);
    let status = child.wait().expect("an end");
    let mut err = String::new();
    if let Some(mut stream) = child.stderr.take() {
        stream.read_to_string(&mut err).expect("text");
        assert_eq!(err, "", "{args:?}");
    }
    status.code()
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new();
    let hi = "{\"action\": \"Final Answer\", \"action_input\": \"hi\"}";
    let script = format!("--script={}", place.file("s", &format!("{hi}\n---\n{hi}")).display());
    let case = place.file("case.txt", &format!("> a\n< {hi}\n")).display().to_string();
    for args in [
        &["ask", "q", &script][..],
        &["ask", "q", "--json", &script],
        &["ask", "q", "-v", &script],
        &["chat", &script],
        &["test", &case],
        &["test", "-v", &case],
        &["--help"],
    ] {
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        if !args.contains(&"-v".to_string()) {
            assert_eq!(closed(&args, true), Some(0), "{args:?}");
        }
        assert_eq!(closed(&args, false), Some(0), "{args:?}");
    }
    let wrong = ["ask".into(), "q".into(), "--model=/no/such/file".into()];
    assert_eq!(closed(&wrong, false), Some(3));
}

#[cfg(unix)]
#[test]
fn ctrl_c_while_waiting_exits_with_130() {
    let place = Place::new();
    let script = place.file("power", POWER);
    let mut child = Process::new(assert_cmd::cargo::cargo_bin("agent"))
        .arg("--script")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    // Its answer shows that it is up and waits for the next question.
    let mut input = child.stdin.take().expect("its input");
    input.write_all(b"what is 4**2.1\n").expect("written");
    let mut answer = vec![0; ANSWER.len()];
    child.stdout.take().expect("its output").read_exact(&mut answer).expect("an answer");
    let id = child.id().to_string();
    assert!(Process::new("kill").args(["-INT", &id]).status().expect("kill").success());
    assert_eq!(child.wait().expect("an end").code(), Some(130));
}
