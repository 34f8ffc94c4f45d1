//! What is asked of a server: a completion in its own words.

use serde_json::{Value, json};

use super::server::{Kind, Server};
use crate::chat::Sampling;
use crate::decode::gbnf;
use crate::llm::Request;

/// The body of a request for a completion. `form` asks to keep the reply to
/// its form.
pub(super) fn body(server: &Server, prompt: Value, request: &Request, form: bool) -> Value {
    let Sampling { temperature, top_p, top_k, seed, .. } = *request.sampling;
    let mut body = json!({
        "model": server.model,
        "prompt": prompt,
        "max_tokens": request.max_new_tokens,
        "temperature": temperature,
        "top_p": top_p,
        // Seeds are 32 bits wide in some servers, signed in others.
        "seed": seed % (1 << 31),
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    // What ends the reply is found here in any case; this spares the server the rest.
    let stops: Vec<String> =
        request.form.stop_lines.iter().map(|line| format!("\n{line}")).collect();
    if !stops.is_empty() {
        body["stop"] = stops.into();
    }
    let grammar = || gbnf(request.form);
    // A server's repetition penalty reaches digits and the JSON around them, so
    // that numbers would be copied wrong: it is off, whatever its default is.
    match server.kind {
        Kind::LlamaCpp => {
            body["top_k"] = top_k.into();
            body["min_p"] = 0.into();
            body["repeat_penalty"] = 1.into();
            body["cache_prompt"] = true.into();
            // The id of each token, and how much of the prompt was there already.
            body["n_probs"] = 1.into();
            body["timings_per_token"] = true.into();
            if form {
                body["grammar"] = grammar().into();
            }
        }
        Kind::Vllm | Kind::Sglang => {
            // Here -1 stands for all.
            body["top_k"] = if top_k == 0 { (-1).into() } else { top_k.into() };
            body["min_p"] = 0.into();
            body["repetition_penalty"] = 1.into();
            if server.kind == Kind::Vllm {
                body["return_token_ids"] = true.into();
                body["add_special_tokens"] = prompt_is_text(&body).into();
            }
            match server.kind {
                _ if !form => {}
                Kind::Vllm => body["structured_outputs"] = json!({"grammar": grammar()}),
                _ => body["ebnf"] = grammar().into(),
            }
        }
        // A penalty is not among what these take.
        Kind::Tgi | Kind::Other => {}
    }
    body
}

fn prompt_is_text(body: &Value) -> bool {
    body["prompt"].is_string()
}
