//! The model in the box on llama.cpp: it opens the same file, and continues
//! every prompt of a conversation with the same tokens.
//!
//! Needs a Python with xllamacpp, named by `AGENT_PARITY_PYTHON`; without that
//! variable the test says so and passes. With it, whatever is missing is a failure.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use llama_agent::agent::event::Outcome;
use llama_agent::agent::prompts::Prompts;
use llama_agent::agent::{Agent, Options};
use llama_agent::chat::{Cancel, Dialect, Prompt, Sampling};
use llama_agent::llm::local::Local;
use llama_agent::llm::{Completion, Llm, LlmError, Request};
use llama_agent::tool::Registry;

/// Ids of a prompt, and of the reply to it.
type Passage = (Vec<u32>, Vec<u32>);

/// A model whose prompts and replies are kept.
struct Noted {
    llm: Local,
    passages: Arc<Mutex<Vec<Passage>>>,
}

impl Llm for Noted {
    fn complete(
        &mut self,
        request: &Request,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Completion, LlmError> {
        let completion = self.llm.complete(request, watch)?;
        let prompt = self.llm.tokenizer().encode_prompt(request.prompt);
        let reply = completion.reply.ids.clone().unwrap();
        self.passages.lock().unwrap().push((prompt, reply));
        Ok(completion)
    }

    fn prepare(&mut self, prompt: &Prompt, cancel: &Cancel) -> Result<(), LlmError> {
        self.llm.prepare(prompt, cancel)
    }

    fn count(&self, prompt: &Prompt) -> Result<usize, LlmError> {
        self.llm.count(prompt)
    }

    fn context(&self) -> usize {
        self.llm.context()
    }
}

#[test]
fn llama_cpp_continues_a_conversation_with_the_same_tokens() {
    let Ok(python) = std::env::var("AGENT_PARITY_PYTHON") else {
        // Past the test harness, which would keep the line to itself.
        let note = "skipped: parity of the model in the box, AGENT_PARITY_PYTHON names no Python";
        writeln!(std::io::stderr(), "{note}").unwrap();
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = root.join("models/calculator.gguf");
    let passages = conversation(&model);
    // One reply to the greeting, two to each of the others.
    assert_eq!(passages.len(), 5);

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let prompts: Vec<_> = passages
        .iter()
        .map(|(prompt, reply)| serde_json::json!({"prompt": prompt, "length": reply.len()}))
        .collect();
    std::fs::write(path("prompts.json"), serde_json::to_vec(&prompts).unwrap()).unwrap();
    let output = Command::new(&python)
        .arg(root.join("tests/parity/continuations.py"))
        .arg(folder.path())
        .arg(&model)
        .output()
        .unwrap_or_else(|error| panic!("{python}: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Vec<Vec<u32>> =
        serde_json::from_slice(&std::fs::read(path("continuations.json")).unwrap()).unwrap();
    let ours: Vec<_> = passages.into_iter().map(|(_, reply)| reply).collect();
    assert!(ours.iter().all(|reply| reply.len() > 10), "{ours:?}");
    assert_eq!(ours, theirs);
}

/// The conversation this program began with, greedily: every prompt and reply.
fn conversation(model: &Path) -> Vec<Passage> {
    let passages = Arc::new(Mutex::new(Vec::new()));
    let llm = Noted { llm: Local::open(model, None).unwrap(), passages: passages.clone() };
    // Without the penalty, which each engine defines in its own way.
    let sampling = Sampling { repeat_penalty: 1.0, ..Sampling::default() };
    let options = Options { sampling, strict: true, ..Options::default() };
    let (tools, prompts) = (Registry::standard(), Prompts::shipped());
    let mut agent =
        Agent::new(Box::new(llm), tools, Dialect::default(), prompts, None, options).unwrap();
    for question in
        ["hey how are you today?", "what is 4 to the power of 2.1?", "can you multiply that by 3?"]
    {
        let outcome = agent.ask(question, &Cancel::new(), &mut |_| {}).unwrap();
        assert!(matches!(outcome, Outcome::Answered(_)), "{question}: {outcome:?}");
    }
    let passages = passages.lock().unwrap();
    passages.clone()
}
