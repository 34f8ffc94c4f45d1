//! The whole program, as a shell sees it: lists of questions, `test`, pipes
//! and signals.

mod program;

use std::fs;
use std::io::{Read, Write};
use std::process::{Command as Process, Stdio};

use program::{ANSWER, POWER, Place, agent, run, scripted};

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
    let mut child = program::process()
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
    let mut child = program::process()
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
