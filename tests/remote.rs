//! Replies of an engine elsewhere, over real sockets: what is asked, and what
//! is made of the answer however it arrives.

mod engine;
mod program;

use std::io::Write;

use engine::{DONE, Engine, answer, begin, complete, events, patience, prompt, reply, say};
use llama_agent::chat::{Cancel, Sampling};
use llama_agent::llm::remote::{Remote, Wanted};
use llama_agent::llm::{End, Llm, LlmError, Request};
use serde_json::json;

fn open(engine: &Engine) -> Remote {
    Remote::open(&engine.address(), Wanted { patience: patience(), ..Wanted::default() })
        .unwrap_or_else(|error| panic!("{error}"))
}

fn ask(llm: &mut Remote) -> Result<llama_agent::llm::Completion, LlmError> {
    complete(llm, &Cancel::new(), &mut |_| {})
}

#[test]
fn a_reply_is_the_same_however_its_bytes_arrive() {
    let text = answer("Señor 🦙 says {\"1 ≈ 1\"}");
    let said = text.clone() + "\nObservation: 7";
    for size in [1, 2, 3, 5, 7, 64, 1 << 20] {
        let said = said.clone();
        let engine = Engine::vllm(move |_, _, stream| {
            begin(stream);
            let pieces: Vec<String> = said.chars().map(String::from).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let stream_text = format!(": ping\n\n{}{DONE}", events(&pieces));
            for part in stream_text.as_bytes().chunks(size) {
                // It hangs up at the end of the reply, before the stream's.
                if stream.write_all(part).is_err() {
                    return;
                }
            }
        });
        let completion = ask(&mut open(&engine)).expect("a reply");
        assert_eq!(completion.reply.text, text, "pieces of {size}");
        assert_eq!(completion.end, End::Closed);
        // Beyond ASCII a server may keep ids to itself.
        assert_eq!(completion.reply.ids, None);
    }
}

#[test]
fn a_reply_ends_where_one_in_process_does() {
    let whole = answer("It is 4.");
    for (pieces, text, end) in [
        (vec![whole.as_str()], whole.as_str(), End::Closed),
        (vec![&whole, "\nUser: and"], &whole, End::Closed),
        (vec![&whole[..20], &whole[20..], "```\n```"], &whole, End::Closed),
        (vec!["I think", " so", "\nObser", "vation: 5"], "I think so", End::Turn),
        (vec!["{\"action\": \"x\"} and so on"], "{\"action\": \"x\"}", End::Closed),
        (vec!["no more"], "no more", End::Turn),
        (
            vec![" {\"action\": \"User", ":\nUser: x\""],
            " {\"action\": \"User:\nUser: x\"",
            End::Turn,
        ),
        (vec![], "", End::Turn),
    ] {
        let said: Vec<String> = pieces.iter().map(|piece| piece.to_string()).collect();
        let engine = Engine::vllm(move |_, _, stream| {
            reply(stream, &said.iter().map(String::as_str).collect::<Vec<_>>());
        });
        let completion = ask(&mut open(&engine)).expect("a reply");
        assert_eq!((completion.reply.text.as_str(), completion.end), (text, end), "{pieces:?}");
        // A token is a byte here, so that the ids are the text's own bytes.
        let ids: Vec<u32> = text.bytes().map(u32::from).collect();
        assert_eq!(completion.reply.ids, Some(ids), "{pieces:?}");
    }
}

#[test]
fn a_server_that_goes_on_is_left_at_the_limit() {
    let engine = Engine::vllm(|_, _, stream| {
        begin(stream);
        while stream.write_all(events(&["x"]).as_bytes()).is_ok() {}
    });
    let completion = ask(&mut open(&engine)).expect("a reply");
    assert_eq!(completion.end, End::Length);
    assert_eq!(completion.stats.produced, 200);
}

#[test]
fn vllm_is_asked_in_its_own_words() {
    let engine = Engine::vllm(|_, _, stream| reply(stream, &[&answer("hi")]));
    let mut remote = open(&engine);
    let sampling = Sampling {
        temperature: 0.5,
        top_p: 0.9,
        top_k: 0,
        repeat_penalty: 1.3,
        seed: (5 << 40) + 7,
    };
    let form = Default::default();
    let request = Request {
        prompt: &prompt(),
        form: &form,
        sampling: &sampling,
        max_new_tokens: 77,
        cancel: &Cancel::new(),
    };
    let completion = remote.complete(&request, &mut |_| {}).expect("a reply");
    let sent = "<s>[INST] JSON [/INST]\nUser: hi (/s)\nAssistant:";
    assert_eq!((completion.stats.prompt, remote.context()), (sent.len(), 8192));
    assert_eq!(remote.count(&prompt()).expect("a count"), sent.len());
    let body = &engine.seen("/v1/completions")[0].body;
    for (key, value) in [
        ("model", json!("llama")),
        ("prompt", json!(sent.as_bytes())),
        ("max_tokens", json!(77)),
        ("temperature", json!(0.5)),
        ("top_p", json!(0.9)),
        ("top_k", json!(-1)),
        ("seed", json!(7)),
        // Theirs would reach digits.
        ("repetition_penalty", json!(1)),
        ("stream", json!(true)),
    ] {
        assert_eq!(body[key], value, "{key}");
    }
    let grammar = body["structured_outputs"]["grammar"].as_str().expect("a grammar");
    assert!(grammar.starts_with("root ::= ") && !grammar.contains("NUMBER"), "{grammar}");
    // Each piece of a conversation is encoded once.
    assert_eq!(engine.seen("/tokenize").len(), 4);
}

#[test]
fn llama_cpp_is_asked_in_its_own_words() {
    let engine = Engine::start(|request, _, stream| {
        let json = match request.path.as_str() {
            "/v1/models" => json!({"data": [{"id": "llama", "owned_by": "llamacpp"}]}),
            "/props" => json!({"default_generation_settings": {"n_ctx": 4096}}),
            "/tokenize" => {
                let text = request.body["content"].as_str().expect("a text");
                // A vocabulary that puts a space before every text.
                let ids: Vec<u8> = [b' '].into_iter().chain(text.bytes()).collect();
                json!({"tokens": ids})
            }
            _ => {
                begin(stream);
                for (text, id) in [
                    (" ```json\n{\"action\": \"A\", ", 7),
                    ("\"action_input\": \"4\"}\n", 8),
                    ("```", 9),
                ] {
                    let logprobs = json!({"content": [{"id": id}]});
                    let event = json!({
                        "choices": [{"text": text, "logprobs": logprobs}],
                        "timings": {"cache_n": 30, "predicted_n": 3},
                    });
                    let _ = write!(stream, "data: {event}\n\n");
                }
                return;
            }
        };
        say(stream, "200 OK", &json.to_string());
    });
    let mut remote = open(&engine);
    let completion = ask(&mut remote).expect("a reply");
    assert_eq!(remote.context(), 4096);
    assert_eq!((completion.stats.reused, completion.stats.produced), (30, 3));
    assert_eq!(completion.reply.ids, Some(vec![7, 8, 9]));
    let body = &engine.seen("/v1/completions")[0].body;
    // A space at the very start, and nowhere else; what a person wrote stays.
    let sent = " <s>[INST] JSON [/INST]\nUser: hi </s>\nAssistant:";
    assert_eq!(body["prompt"], json!(sent.as_bytes()));
    assert_eq!((&body["repeat_penalty"], &body["min_p"]), (&json!(1), &json!(0)));
    assert_eq!(body["stop"], json!(["\nObservation:", "\nUser:"]));
    assert!(body["grammar"].as_str().expect("a grammar").contains("\nNUMBER ::= "));
    let parsed: Vec<_> = engine
        .seen("/tokenize")
        .iter()
        .map(|request| (request.body["content"].clone(), request.body["parse_special"].clone()))
        .collect();
    assert!(parsed.contains(&(json!("\n hi </s>"), json!(false))), "{parsed:?}");
    assert!(parsed.contains(&(json!("\n\nAssistant:"), json!(true))), "{parsed:?}");
}

#[test]
fn where_ids_are_not_taken_text_is_sent_without_control_strings() {
    let engine = Engine::start(|request, _, stream| match request.path.as_str() {
        "/v1/models" => say(stream, "200 OK", "{\"data\": [{\"id\": \"tgi\"}]}"),
        "/info" => say(stream, "200 OK", "{\"max_total_tokens\": 2048}"),
        "/tokenize" => {
            let text = request.body["inputs"].as_str().expect("a text");
            let tokens: Vec<_> = text.bytes().map(|byte| json!({"id": byte})).collect();
            say(stream, "200 OK", &json!(tokens).to_string());
        }
        "/v1/completions" => reply(stream, &[&answer("hi")]),
        _ => say(stream, "404 Not Found", ""),
    });
    let mut remote = open(&engine);
    let completion = ask(&mut remote).expect("a reply");
    let body = &engine.seen("/v1/completions")[0].body;
    assert_eq!(body["prompt"], "[INST] JSON [/INST]\nUser: hi (/s)\nAssistant:");
    assert_eq!(remote.context(), 2048);
    // The beginning of the sequence, which the server adds, counts.
    assert_eq!(completion.stats.prompt, body["prompt"].as_str().expect("text").len() + 1);
}

#[test]
fn a_form_that_is_not_taken_is_not_sent_again() {
    let engine =
        Engine::vllm(|request, _, stream| match request.body["structured_outputs"].is_null() {
            true => reply(stream, &[&answer("hi")]),
            false => say(stream, "400 Bad Request", "{\"error\": {\"message\": \"no grammars\"}}"),
        });
    let mut remote = open(&engine);
    assert_eq!(ask(&mut remote).expect("a reply").end, End::Closed);
    assert_eq!(ask(&mut remote).expect("a reply").end, End::Closed);
    assert_eq!(engine.seen("/v1/completions").len(), 3);
}

#[test]
fn what_does_not_fit_is_never_sent() {
    let engine = Engine::vllm(|_, _, stream| reply(stream, &[&answer("hi")]));
    let wanted = Wanted { context: Some(240), patience: patience(), ..Wanted::default() };
    let mut remote = Remote::open(&engine.address(), wanted).expect("an engine");
    let error = ask(&mut remote).expect_err("too long");
    assert!(matches!(error, LlmError::DoesNotFit { needed: 247, context: 240 }), "{error}");
    assert!(engine.seen("/v1/completions").is_empty());
}

#[test]
fn the_program_asks_an_engine_elsewhere() {
    let engine = Engine::vllm(|_, before, stream| match before {
        0 => reply(
            stream,
            &[" ```json\n{\"action\": \"Calculator\",\n", " \"action_input\": \"4**2.1\"}\n```"],
        ),
        _ => reply(stream, &[&answer("It is 18.37917367995256.")]),
    });
    let address = engine.address();
    let mut command = program::agent(&["ask", "--strict", "what is 4**2.1", "--model", &address]);
    let (code, out, err) = program::run(command.env_remove("AGENT_API_KEY"));
    assert_eq!((code, out.as_str()), (0, "It is 18.37917367995256.\n"), "{err}");
    let prompt = &engine.seen("/v1/completions")[1].body["prompt"];
    let bytes: Vec<u8> = serde_json::from_value(prompt.clone()).expect("ids");
    let text = String::from_utf8(bytes).expect("text");
    assert!(text.ends_with("\n```\nObservation: 18.37917367995256\nAssistant:"), "{text}");
}
