//! An engine elsewhere that is not well: what is tried again, what is said, how
//! waiting is given up; and that nobody is ever shown the key.

mod engine;
mod program;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use engine::{Engine, answer, begin, complete, events, patience, reply, say};
use llama_agent::chat::Cancel;
use llama_agent::llm::remote::{ApiKey, Patience, Remote, Wanted};
use llama_agent::llm::{End, LlmError};
use serde_json::json;

const KEY: &str = "sk-very-secret-0123456789";

fn open(engine: &Engine, patience: Patience) -> Remote {
    Remote::open(&engine.address(), Wanted { patience, ..Wanted::default() }).expect("an engine")
}

fn ask(llm: &mut Remote) -> Result<llama_agent::llm::Completion, LlmError> {
    complete(llm, &Cancel::new(), &mut |_| {})
}

/// The sentence of the error that asking ends with.
fn trouble(engine: &Engine, patience: Patience) -> String {
    ask(&mut open(engine, patience)).expect_err("an error").to_string()
}

#[test]
fn a_wait_that_the_server_asks_for_counts() {
    // Without it the first wait would be longer than any that is made.
    let hour = Patience { wait: Duration::from_secs(3600), ..patience() };
    let busy = |headers: &'static str| {
        Engine::vllm(move |_, before, stream| match before {
            0 => say(stream, &format!("429 Too Many Requests{headers}"), "{\"detail\": \"later\"}"),
            _ => reply(stream, &[&answer("hi")]),
        })
    };
    let engine = busy("\r\nRetry-After: 0");
    assert_eq!(ask(&mut open(&engine, hour.clone())).expect("a reply").end, End::Closed);
    assert_eq!(engine.seen("/v1/completions").len(), 2);
    for headers in ["", "\r\nRetry-After: 86400"] {
        let engine = busy(headers);
        let error = trouble(&engine, hour.clone());
        assert!(error.contains("status 429") && error.contains("later"), "{error}");
        assert_eq!(engine.seen("/v1/completions").len(), 1);
    }
}

#[test]
fn failures_before_the_first_token_are_tried_again() {
    let engine = Engine::vllm(|_, before, stream| match before {
        0 => say(stream, "500 Internal Server Error", "out of luck"),
        // A connection that ends without a word, and one after the status.
        1 => drop(stream.shutdown(std::net::Shutdown::Both)),
        2 => begin(stream),
        _ => reply(stream, &[&answer("hi")]),
    });
    let patient = Patience { tries: 4, ..patience() };
    assert_eq!(ask(&mut open(&engine, patient)).expect("a reply").end, End::Closed);
    let engine = Engine::vllm(|_, _, stream| say(stream, "503 Unavailable", "out of luck"));
    let error = trouble(&engine, patience());
    assert!(error.contains("status 503") && error.contains("out of luck"), "{error}");
    assert_eq!(engine.seen("/v1/completions").len(), 3);
}

#[test]
fn a_reply_that_breaks_off_is_an_error_and_not_asked_for_again() {
    let engine = Engine::vllm(|_, _, stream| {
        begin(stream);
        let _ = stream.write_all(events(&[" ```json\n{\"act"]).as_bytes());
    });
    let error = trouble(&engine, patience());
    assert!(error.contains("in the middle of a reply"), "{error}");
    assert_eq!(engine.seen("/v1/completions").len(), 1);
    for (said, expected) in [
        ("data: {\"error\": {\"message\": \"no memory\"}}\n\n", "no memory"),
        ("data: nonsense\n\n", "no JSON"),
    ] {
        let engine = Engine::vllm(move |_, _, stream| {
            begin(stream);
            let _ = stream.write_all(said.as_bytes());
        });
        let error = trouble(&engine, patience());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_is_refused_is_said_in_the_servers_words() {
    let engine = Engine::vllm(|_, _, stream| {
        say(stream, "400 Bad Request", "{\"error\": {\"message\": \"bad\\u001b[2J idea\"}}");
    });
    let error = trouble(&engine, patience());
    assert!(error.contains("status 400") && error.ends_with("bad [2J idea"), "{error:?}");
}

/// Reads until the other side closes the connection.
fn closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.read(&mut byte), Ok(0) | Err(_))
}

#[test]
fn a_wish_to_stop_closes_the_connection() {
    let (tell, heard) = channel();
    let tell = Mutex::new(tell);
    // It says a piece of a reply, or not even a status, and then nothing more.
    let engine = Engine::vllm(move |_, before, stream| {
        if before == 0 {
            begin(stream);
            let _ = stream.write_all(events(&["I ", "think"]).as_bytes());
        }
        let tell = tell.lock().expect("a channel").clone();
        tell.send("asked").expect("a test that listens");
        if closed(stream) {
            tell.send("closed").expect("a test that listens");
        }
    });
    let mut remote = open(&engine, patience());
    let next = || heard.recv_timeout(Duration::from_secs(60));

    let cancel = Cancel::new();
    let completion = complete(&mut remote, &cancel, &mut |_| cancel.ask()).expect("a reply");
    assert_eq!(completion.end, End::Cancelled);
    assert!(completion.reply.text.starts_with('I'));
    assert_eq!((next(), next()), (Ok("asked"), Ok("closed")));

    let cancel = Cancel::new();
    let person = cancel.clone();
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| complete(&mut remote, &cancel, &mut |_| {}));
        assert_eq!(next(), Ok("asked"));
        person.ask();
        let completion = asker.join().expect("no panic").expect("a reply");
        assert_eq!((completion.end, completion.reply.text.as_str()), (End::Cancelled, ""));
    });
    assert_eq!(next(), Ok("closed"));
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for_for_ever() {
    let short = Duration::from_millis(30);
    let engine = Engine::vllm(|_, _, stream| {
        begin(stream);
        let _ = stream.write_all(events(&["I think"]).as_bytes());
        closed(stream);
    });
    let error = trouble(&engine, Patience { between: short, ..patience() });
    assert!(error.contains("said nothing"), "{error}");
    let engine = Engine::vllm(|_, _, stream| {
        closed(stream);
    });
    let error = trouble(&engine, Patience { first: short, ..patience() });
    assert!(error.contains("said nothing"), "{error}");
}

#[test]
fn what_is_no_engine_is_told_apart() {
    let models = |json: &'static str| {
        Engine::start(move |request, _, stream| match request.path.as_str() {
            "/v1/models" => say(stream, "200 OK", json),
            "/elsewhere/models" => say(stream, "302 Found\r\nLocation: /v1/models", ""),
            _ => say(stream, "404 Not Found", "<html>"),
        })
    };
    let two = "{\"data\": [{\"id\": \"a\"}, {\"id\": \"b\"}]}";
    let one = "{\"data\": [{\"id\": \"a\"}]}";
    for (json, path, name, context, expected) in [
        ("<html>", "/v1", None, None, "not JSON"),
        ("{}", "/v1", None, None, "lists no model"),
        (one, "/v2", None, None, "status 404"),
        (one, "/elsewhere", None, None, "sends elsewhere"),
        (two, "/v1", None, None, "name one of a, b with --remote-model"),
        (two, "/v1", Some("c"), None, "no model \"c\""),
        (one, "/v1", None, None, "--context"),
        (two, "/v1", Some("b"), Some(100), "--tokenizer"),
    ] {
        let engine = models(json);
        let address = format!("http://127.0.0.1:{}{path}", engine.port);
        let wanted = Wanted { model: name, context, patience: patience(), ..Wanted::default() };
        let error = Remote::open(&address, wanted).err().expect("an error").to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/v1", port.local_addr().expect("an address"));
    drop(port);
    let error = Remote::open(&address, Wanted::default()).err().expect("an error").to_string();
    assert!(error.contains("connection refused"), "{error}");
    // Something that is no web server, where https is expected.
    let engine = Engine::start(|_, _, _| {});
    let address = format!("https://127.0.0.1:{}/v1", engine.port);
    let wanted = Wanted {
        patience: Patience { tries: 1, answer: Duration::from_secs(1), ..patience() },
        ..Wanted::default()
    };
    assert!(Remote::open(&address, wanted).is_err());
}

#[test]
fn a_key_shows_nothing_of_itself() {
    let key = ApiKey::new(&format!(" {KEY}\n")).expect("a key").expect("one");
    assert!(!format!("{key} {key:?} {key:#?}").contains("secret"));
    assert!(ApiKey::new(" ").expect("no key").is_none());
    let error = ApiKey::new("very secret").expect_err("a space").to_string();
    assert!(!error.contains("secret"), "{error}");
}

/// An engine that wants the key, and repeats it wherever it can.
fn guarded() -> Engine {
    Engine::start(|request, _, stream| {
        let given =
            request.head.lines().find(|line| line.to_lowercase().starts_with("authorization"));
        match (request.path.as_str(), given) {
            (_, None) => say(stream, "401 Unauthorized", "{}"),
            (_, Some(key)) if !key.ends_with(KEY) => {
                say(stream, "403 Forbidden", &json!({"error": {"message": key}}).to_string());
            }
            ("/v1/models", _) => {
                let model = json!({"id": "a", "owned_by": "vllm", "max_model_len": 9000});
                say(stream, "200 OK", &json!({"data": [model]}).to_string());
            }
            ("/tokenize", _) => say(stream, "200 OK", "{\"tokens\": [1]}"),
            (_, Some(key)) => {
                say(stream, "418 Odd", &json!({"error": {"message": key}}).to_string());
            }
        }
    })
}

#[test]
fn nobody_is_shown_the_key() {
    let engine = guarded();
    let address = engine.address();
    for (key, code, expected) in [
        (None, 3, "asks for a key: put it into AGENT_API_KEY"),
        (Some("sk-another-secret"), 3, "does not accept the key"),
        (Some("two secret words"), 3, "cannot be sent"),
        (Some(KEY), 1, "[key]"),
    ] {
        for flags in [&["--json"][..], &["-v"], &["--json", "-v"], &[]] {
            let mut command = program::agent(&["ask", "hi", "--model", &address]);
            command.args(flags).env_remove("AGENT_API_KEY");
            if let Some(key) = key {
                command.env("AGENT_API_KEY", key);
            }
            let (status, out, err) = program::run(&mut command);
            let said = format!("{out}{err}");
            assert_eq!(status, code, "{said}");
            assert!(said.contains(expected), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
    // It was sent, and where it belongs.
    let heads = engine.seen("/v1/completions");
    assert!(!heads.is_empty() && heads.iter().all(|seen| seen.head.contains(KEY)));
    let with_key = address.replace("http://", &format!("http://{KEY}@"));
    let (code, out, err) = program::run(&mut program::agent(&["ask", "hi", "--model", &with_key]));
    assert_eq!(code, 3);
    assert!(err.contains("AGENT_API_KEY") && !(out + &err).contains("secret"));
}
