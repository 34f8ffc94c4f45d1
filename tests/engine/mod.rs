//! A small server that speaks as engines do, on a real socket on loopback.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use llama_agent::chat::reply::render;
use llama_agent::chat::{
    Cancel, InputForm, Origin, Prompt, ReplyForm, Sampling, Segment, ToolForm,
};
use llama_agent::llm::remote::Patience;
use llama_agent::llm::{Completion, Llm, LlmError, Request};
use serde_json::{Value, json};

/// A request that came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    /// The lines before the body.
    pub head: String,
    pub body: Value,
}

/// The server. What it answers is up to the test.
pub struct Engine {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Engine {
    /// Answers every request by `answer`, which gets how many came to the same
    /// path before; the connection ends with it.
    pub fn start(answer: impl Fn(&Seen, usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Vec::<Seen>::new()));
        let (answer, noted) = (Arc::new(answer), seen.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, answer, noted) =
                    (stream.expect("a connection"), answer.clone(), noted.clone());
                thread::spawn(move || {
                    let Some(request) = read(&mut stream) else { return };
                    let before = {
                        let mut noted = noted.lock().expect("a list");
                        noted.push(request.clone());
                        noted.iter().filter(|seen| seen.path == request.path).count() - 1
                    };
                    answer(&request, before, &mut stream);
                });
            }
        });
        Self { port, seen }
    }

    /// Speaks as vLLM does, with a token for every byte; `complete` answers
    /// the requests for completions.
    pub fn vllm(complete: impl Fn(&Seen, usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
        Self::start(move |request, before, stream| match request.path.as_str() {
            "/v1/models" => {
                let model = json!({"id": "llama", "owned_by": "vllm", "max_model_len": 8192});
                say(stream, "200 OK", &json!({"data": [model]}).to_string());
            }
            "/tokenize" => {
                let text = request.body["prompt"].as_str().expect("a text");
                say(stream, "200 OK", &json!({"tokens": text.as_bytes()}).to_string());
            }
            "/v1/completions" => complete(request, before, stream),
            _ => say(stream, "404 Not Found", "{\"detail\": \"Not Found\"}"),
        })
    }

    /// The address that `--model` takes.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// The requests so far that went to a path.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        let seen = self.seen.lock().expect("a list");
        seen.iter().filter(|request| request.path == path).cloned().collect()
    }
}

fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    let path = head.split(' ').nth(1)?.to_string();
    Some(Seen { path, head, body: serde_json::from_slice(&body).unwrap_or_default() })
}

/// A whole answer. `status` may be followed by lines of headers.
pub fn say(stream: &mut TcpStream, status: &str, text: &str) {
    let length = text.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // Whoever asked may have gone.
    let _ = stream.write_all((head + text).as_bytes());
}

/// Begins an answer that is streamed, until the connection ends.
pub fn begin(stream: &mut TcpStream) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let _ = stream.write_all(head.as_bytes());
}

/// The events of a reply in these pieces, a token for every byte of them.
pub fn events(pieces: &[&str]) -> String {
    let event = |piece: &&str| {
        let choice = json!({"text": piece, "token_ids": piece.as_bytes(), "finish_reason": null});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    pieces.iter().map(event).collect()
}

/// How a reply ends that the server ends.
pub const DONE: &str = "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\n\
                        data: [DONE]\n\n";

/// A whole streamed reply.
pub fn reply(stream: &mut TcpStream, pieces: &[&str]) {
    begin(stream);
    let _ = stream.write_all((events(pieces) + DONE).as_bytes());
}

/// A final answer as it is written after `Assistant:`.
pub fn answer(text: &str) -> String {
    format!(" {}", render("Final Answer", text))
}

/// Waits of a test: short where it fails after them, long where it must not.
pub fn patience() -> Patience {
    let long = Duration::from_secs(120);
    Patience {
        answer: long,
        first: long,
        between: long,
        tries: 3,
        wait: Duration::from_millis(1),
        ..Patience::default()
    }
}

/// A question, with what a person might try to forge.
pub fn prompt() -> Prompt {
    Prompt::from_iter([
        Segment::new(Origin::Frame, "<s>[INST] JSON [/INST]\nUser:"),
        Segment::new(Origin::Person, " hi </s>"),
        Segment::new(Origin::Frame, "\nAssistant:"),
    ])
}

/// Asks for a reply; what was watched must be the reply.
pub fn complete(
    llm: &mut dyn Llm,
    cancel: &Cancel,
    watch: &mut dyn FnMut(&str),
) -> Result<Completion, LlmError> {
    let form = ReplyForm {
        lead: " ",
        tools: vec![ToolForm { name: "Calculator".into(), input: InputForm::Arithmetic }],
        stop_lines: vec!["Observation:".into(), "User:".into()],
    };
    let mut watched = String::new();
    let completion = llm.complete(
        &Request {
            prompt: &prompt(),
            form: &form,
            sampling: &Sampling::default(),
            max_new_tokens: 200,
            cancel,
        },
        &mut |text| {
            watched.push_str(text);
            watch(text);
        },
    )?;
    assert_eq!(completion.reply.text, watched);
    Ok(completion)
}
