//! Chat templates of the kinds that models come with, in words of our own, and
//! what they write.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::sync::Arc;

use llama_agent::chat::dialect::Source;
use llama_agent::chat::{Dialect, Origin, Segment, Template};
use minijinja::{Environment, Value, context};

/// Of the Llama-3 kind: every message below a header, a role for tools.
pub const LLAMA_3: &str = r#"{{- bos_token }}
{%- for message in messages %}
    {%- set role = "ipython" if message.role == "tool" else message.role %}
    {{- "<|start_header_id|>" ~ role ~ "<|end_header_id|>\n\n" }}
    {{- message['content'] | trim ~ "<|eot_id|>" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|start_header_id|>assistant<|end_header_id|>\n\n" }}
{%- endif %}"#;

/// Of the Llama-3.1 kind: the system message set apart with a date, tools and
/// their results as JSON.
pub const LLAMA_3_1: &str = r#"{{- bos_token }}
{%- if tools_in_user_message is not defined %}{% set tools_in_user_message = true %}{% endif %}
{%- if not date_string is defined %}{% set date_string = "1 Jan 2030" %}{% endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set opening = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}{%- set opening = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>

Today: " + date_string + "

" }}
{%- if tools is not none and not tools_in_user_message %}{{- tools | tojson(indent=4) }}{%- endif %}
{{- opening }}{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>

' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- raise_exception("no calls are given here") }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>

" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}{{- message.content }}{%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>

' }}{%- endif %}"#;

/// Of the ChatML kind: every role alike, nothing before the first.
pub const CHATML: &str = r"{% for message in messages %}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Of the Mistral kind: persons and the model in turns, and nobody else.
pub const MISTRAL: &str = r"{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('persons and the model speak in turns') }}
{% endif %}
{% if message.role == 'user' %}{{ '[INST] ' + message.content.strip() + ' [/INST]' }}
{%- else %}{{ ' ' + message.content + eos_token }}{% endif %}
{%- endfor %}";

/// Of the Llama-2 kind: the system message between marks in the first question.
pub const LLAMA_2: &str = r"{% for message in messages %}
{% if message.role == 'system' %}{{ bos_token + '[INST] <<SYS>>\n' + message.content + '\n<</SYS>>\n\n' }}
{%- elif message.role == 'user' %}{% if loop.index0 > 1 %}{{ bos_token + '[INST] ' }}{% endif %}{{ message.content + ' [/INST]' }}
{%- else %}{{ ' ' + message.content + ' ' + eos_token }}{% endif %}
{%- endfor %}";

/// Of the kind without control tokens.
pub const HEADINGS: &str = r"{% for message in messages %}
{{ '### ' + message.role.title() + ' says:\n' + message.content + '\n\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '### Assistant says:\n' }}{% endif %}";

pub fn source(text: &str) -> Source<'_> {
    let llama_3 = text == LLAMA_3;
    let (bos, eos) = if llama_3 { ("<|begin_of_text|>", "<|eot_id|>") } else { ("<s>", "</s>") };
    Source { text, bos, eos, add_bos: llama_3 || text == MISTRAL || text == LLAMA_2 }
}

pub fn dialect(text: &str) -> Dialect {
    Dialect::Template(Arc::new(Template::new(source(text)).unwrap()))
}

pub fn text(segments: &[Segment]) -> String {
    segments.iter().map(|segment| segment.text.as_str()).collect()
}

pub fn model(text: &str) -> Segment {
    Segment::new(Origin::Model, text)
}

/// A system message and two exchanges, the first with a call.
pub fn conversation(dialect: &Dialect) -> String {
    let mut segments = dialect.system("Be kind.", Some("a pirate"));
    segments.extend(dialect.question("In JSON.", "how much is it?"));
    segments.push(model(" call"));
    segments.extend(dialect.after_reply(Some("42"), None));
    segments.push(model(" 42"));
    segments.push(dialect.between());
    segments.extend(dialect.question("In JSON.", "thanks"));
    segments.push(model(" ?"));
    segments.extend(dialect.after_reply(None, Some("Use JSON.")));
    text(&segments)
}

/// A string as JSON has it.
pub fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What the template itself writes.
pub fn rendered(source: Source, messages: &[(&str, String)], generate: bool) -> String {
    let mut environment = Environment::new();
    let syntax = minijinja::syntax::SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .unwrap();
    environment.set_syntax(syntax);
    environment.set_unknown_method_callback(|_, value, method, _| match method {
        "strip" => Ok(Value::from(value.as_str().unwrap().trim())),
        _ => panic!("{method} is not called in these templates"),
    });
    environment.add_function("raise_exception", |why: String| -> String { panic!("{why}") });
    environment.add_filter("tojson", |text: String| Value::from(json(&text)));
    environment.add_template("chat", source.text).unwrap();
    let messages: Vec<Value> = messages
        .iter()
        .map(|(role, content)| context! { role => *role, content => content.as_str() })
        .collect();
    let values = context! {
        messages, add_generation_prompt => generate, bos_token => source.bos,
        eos_token => source.eos,
    };
    environment.get_template("chat").unwrap().render(values).unwrap()
}
