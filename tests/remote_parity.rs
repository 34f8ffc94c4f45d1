//! A server that nobody here wrote: llama.cpp's, serving the model in the box
//! gives the same answers as that model in process; serving one of random
//! weights, it keeps every reply to the form that was sent.
//!
//! Needs a Python with xllamacpp, named by `AGENT_PARITY_PYTHON`; without that
//! variable the tests say so and pass. With it, whatever is missing is a failure.

mod program;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use llama_agent::agent::step::{Step, read};
use llama_agent::chat::reply::{FINAL_ANSWER, render};
use llama_agent::chat::{
    Cancel, InputForm, Origin, Prompt, ReplyForm, Sampling, Segment, ToolForm,
};
use llama_agent::llama::{Gguf, Tokenizer};
use llama_agent::llm::remote::{Remote, Wanted};
use llama_agent::llm::{End, Llm, Request};
use llama_agent::tool::calculator::check;
use support::Tiny;

/// A server of llama.cpp's, until it is dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// None without a Python to run it.
    fn start(model: &Path) -> Option<Self> {
        let Ok(python) = std::env::var("AGENT_PARITY_PYTHON") else {
            // Past the test harness, which would keep the line to itself.
            let note = "skipped: a server of llama.cpp's, AGENT_PARITY_PYTHON names no Python";
            writeln!(std::io::stderr(), "{note}").expect("written");
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/serve.py");
        let mut process = Command::new(&python)
            .arg(script)
            .arg(model)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{python}: {error}"));
        let mut lines = BufReader::new(process.stdout.take().expect("its output")).lines();
        let address = lines.next().expect("an address").expect("text");
        Some(Self { process, address: format!("{address}/v1") })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn root(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).display().to_string()
}

/// Exit code and standard output.
fn run(args: &[&str], input: &str) -> (i32, String) {
    let mut command = program::agent(args);
    let (code, out, err) =
        program::run(command.env_remove("AGENT_API_KEY").write_stdin(input.to_string()));
    assert_eq!(code, 0, "{args:?}: {err}");
    (code, out)
}

#[cfg(feature = "embedded-model")]
#[test]
fn the_model_in_the_box_answers_the_same_elsewhere() {
    let model = root("models/calculator.gguf");
    let Some(server) = Server::start(Path::new(&model)) else { return };
    let here = |args: &[&str], input: &str| run(&[args, &["--no-snapshot"]].concat(), input);
    let there =
        |args: &[&str], input: &str| run(&[args, &["--model", &server.address]].concat(), input);
    let conversation =
        "hey how are you today?\nwhat is 4 to the power of 2.1?\ncan you multiply that by 3?\n";
    for (args, input) in [
        (&["ask", "what is 4**2.1"][..], ""),
        // With the form there is nothing to repair.
        (&["ask", "--strict", "what is 4**2.1"], ""),
        (&["ask", "--strict", "--no-grammar", "what is 15% of 240"], ""),
        (&["ask", "--strict", "add 3 and 4, square it"], ""),
        (&["chat", "--strict"], conversation),
    ] {
        let theirs = there(args, input);
        assert_eq!(theirs, here(args, input), "{args:?}");
        // The vocabulary may be known here as well: the same ids, the same answers.
        let known = there(&[args, &["--tokenizer", &model]].concat(), input);
        assert_eq!(theirs, known, "{args:?}");
    }
    let (_, told) = there(&["chat", "--strict"], conversation);
    assert!(told.contains("18.37917367995256") && told.contains("55.13752103985769"), "{told}");
    there(
        &["test", &root("examples/conversation.txt"), &root("examples/model-small-sums.txt")],
        "",
    );
}

/// Replies of random weights make no sense by themselves: what can be read
/// comes from the grammar that was sent.
#[test]
fn a_server_keeps_replies_to_the_form() {
    let tiny =
        Tiny { layers: 1, vocab: 1024, context: 2048, scale: 0.3, ..Tiny::default() }.bytes();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("random.gguf");
    std::fs::write(&path, &tiny).expect("written");
    let Some(server) = Server::start(&path) else { return };
    let mut remote = Remote::open(&server.address, Wanted::default()).expect("an engine");
    assert_eq!(remote.context(), 2048);
    let tokenizer = Tokenizer::from_gguf(&Gguf::from_bytes(tiny).expect("a model"));
    let tokenizer = tokenizer.expect("a vocabulary");
    let tools = vec![
        ToolForm { name: "Calculator".into(), input: InputForm::Arithmetic },
        ToolForm { name: "Say \"so\"".into(), input: InputForm::Text },
    ];
    let prompt = Prompt::from_iter([
        Segment::new(Origin::Frame, "<s>[INST] JSON [/INST]\nUser:"),
        Segment::new(Origin::Person, " what </s> is →?"),
        Segment::new(Origin::Frame, "\nAssistant:"),
    ]);
    let ids = tokenizer.encode_prompt(&prompt);
    assert_eq!(remote.count(&prompt).expect("a count"), ids.len());
    let (mut called, mut said) = (0, 0);
    for seed in 0..30 {
        let completion = remote
            .complete(
                &Request {
                    prompt: &prompt,
                    form: &ReplyForm {
                        lead: " ",
                        tools: tools.clone(),
                        stop_lines: vec!["User:".into()],
                    },
                    sampling: &Sampling { temperature: 2.0, seed, ..Sampling::default() },
                    max_new_tokens: 150,
                    cancel: &Cancel::new(),
                },
                &mut |_| {},
            )
            .expect("a reply");
        let text = &completion.reply.text;
        let begun =
            tools.iter().map(|tool| tool.name.as_str()).chain([FINAL_ANSWER]).find_map(|name| {
                let whole = format!(" {}", render(name, ""));
                text.strip_prefix(whole.strip_suffix("\"}\n```")?)
            });
        let input = begun.unwrap_or_else(|| panic!("{text:?} does not begin like a reply"));
        if text.contains("\"Calculator\"") {
            let sign =
                |c: char| c.is_ascii_alphanumeric() || " +-−*×·/÷^%().,!°π√\"}\n`".contains(c);
            assert!(input.chars().all(sign), "{text:?}");
            called += 1;
        } else {
            said += 1;
        }
        // Random weights may come to no end in time.
        if completion.end == End::Length {
            continue;
        }
        assert_eq!(completion.end, End::Closed, "{text:?}");
        match read(text, true).step {
            Step::Act { tool, input } if tool == "Calculator" => {
                assert!(check(&input).is_ok(), "{input:?}");
            }
            Step::Act { .. } | Step::Answer(_) => {}
            Step::Unreadable { why } => panic!("{why} in {text:?}"),
        }
    }
    assert!(called > 1 && said > 1, "{called} {said}");
}
