//! What people type that is not quite what the program wants.

mod program;

use program::{ANSWER, POWER, Place, agent, run, scripted};

#[test]
fn a_question_without_a_command_is_told_how_to_be_asked() {
    for (args, said) in [
        (&["2+2"][..], "tip: to ask a question: agent ask \"2+2\""),
        (&["what", "is", "2+2"], "tip: to ask a question: agent ask \"what is 2+2\""),
        (&["-5+3"], "tip: to ask a question: agent ask \"-5+3\""),
        (&["it costs $5"], "tip: to ask a question: agent ask 'it costs $5'"),
        (&["aks", "q"], "tip: a similar subcommand exists: 'ask'"),
        (&["chta"], "tip: a similar subcommand exists: 'chat'"),
        (&["modles"], "tip: a similar subcommand exists: 'models'"),
    ] {
        let (code, out, err) = run(&mut agent(args));
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(err.contains(said), "{args:?}: {err}");
        let alone = args.len() == 1;
        assert!(!alone || err.matches("tip:").count() == 1, "{args:?}: {err}");
    }
}

#[test]
fn an_expression_may_start_with_a_minus() {
    let place = Place::new();
    let script = place.file("power", POWER);
    for args in [&["ask", "-5+3"][..], &["ask", "-5", "+", "3"], &["ask", "-(2+3)*4", "-v"]] {
        let (code, out, err) = run(&mut scripted(&script, args));
        assert_eq!((code, out.as_str()), (0, ANSWER), "{args:?}: {err}");
    }
    let (_, _, err) = run(&mut scripted(&script, &["ask", "-v", "what is", "-5+3"]));
    assert!(err.contains("question: what is -5+3\n"), "{err}");
    let file = script.display().to_string();
    let (code, out, _) = run(&mut agent(&["ask", "--script", &file, "--", "-5+3"]));
    assert_eq!((code, out.as_str()), (0, ANSWER));
    // A flag that there is not is still one.
    assert_eq!(run(&mut scripted(&script, &["ask", "-x"])).0, 2);
}

#[test]
fn commands_that_there_are_not_suggest_only_what_is_like_them() {
    let place = Place::new();
    let script = place.file("power", POWER);
    let say = |input: &str| run(scripted(&script, &["chat"]).write_stdin(input));
    for (typed, said) in [
        ("/foo", "there is no command /foo; /help shows all\n"),
        ("/wy", "there is no command /wy; did you mean /why?\n"),
        ("/quti", "there is no command /quti; did you mean /quit?\n"),
    ] {
        assert_eq!(say(typed), (1, said.into(), String::new()));
    }
    let (code, out, _) = say("/help\n/quit\n/foo\n");
    assert!(code == 0 && out.contains("leave (also /quit and Ctrl-D)"), "{out}");
    assert!(!out.contains("/foo"));
}

#[test]
fn the_program_has_one_name() {
    let (_, version, _) = run(&mut agent(&["--version"]));
    assert_eq!(version, format!("agent {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn questions_of_several_lines_come_through_a_pipe() {
    let place = Place::new();
    let answer = "{\"action\": \"Final Answer\", \"action_input\": \"yes\"}";
    let script = place.file("s", &[answer; 3].join("\n---\n"));
    let say = |input: &str| run(scripted(&script, &["chat", "-v"]).write_stdin(input));
    let input = "two \\\nlines\n\"\"\"three\n\n/lines\"\"\"\r\nlast \\";
    let (code, out, err) = say(input);
    assert_eq!((code, out.as_str()), (0, "yes\nyes\nyes\n"), "{err}");
    for question in ["two \nlines", "three\n\n/lines", "last"] {
        assert!(err.contains(&format!("question: {question}\n")), "{question}: {err}");
    }
    let (code, out, err) = say("one\n\"\"\"two\nthree\n");
    assert_eq!((code, out.as_str()), (1, "yes\n"));
    assert!(err.contains("error: the \"\"\" of line 2 is never closed"), "{err}");
}

#[cfg(feature = "embedded-model")]
#[test]
fn a_dialect_that_the_model_was_not_trained_with_is_refused() {
    let why = "error: this model was trained with the dialect react alone and makes no sense in ";
    let ask = |flags: &[&str]| {
        let args = ["ask", "hello", "--no-snapshot", "--max-steps=1"];
        run(&mut agent(&[&args[..], flags].concat()))
    };
    for dialect in ["llama-2", "template"] {
        let (code, out, err) = ask(&["--dialect", dialect]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(&format!("{why}{dialect}: ")), "{err}");
    }
    let (with, without) = (ask(&["--dialect=react"]), ask(&[]));
    assert_eq!((with.0, with.1.is_empty(), with.2.as_str()), (0, false, ""));
    assert_eq!(with, without);
    // A script knows every dialect; a conversation that asks the model for one
    // that it does not know fails.
    let place = Place::new();
    let script = place.file("s", "{\"action\": \"Final Answer\", \"action_input\": \"yes\"}");
    let (code, out, _) = run(&mut scripted(&script, &["ask", "q", "--dialect=llama-2"]));
    assert_eq!((code, out.as_str()), (0, "yes\n"));
    let asks = place.file("c.txt", "# A question\ndialect: llama-2\n\n> hello\n");
    let (code, out, err) = run(agent(&["test"]).arg(&asks));
    assert!(code == 1 && format!("{out}{err}").contains("in llama-2: "), "{code} {out}{err}");
}
