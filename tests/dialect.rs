//! Chat templates of model files as dialects: what is written is what the
//! template writes.

mod templates;

use std::sync::Arc;

use llama_agent::chat::dialect::Source;
use llama_agent::chat::{Dialect, Origin, Template};
use templates::{
    CHATML, HEADINGS, LLAMA_2, LLAMA_3, LLAMA_3_1, MISTRAL, conversation, dialect, source, text,
};

#[test]
fn a_template_of_the_llama_3_kind() {
    let dialect = dialect(LLAMA_3);
    assert_eq!(dialect.name(), "template, observations as tool");
    let header = |role: &str| format!("<|start_header_id|>{role}<|end_header_id|>\n\n");
    let expected = [
        format!("<|begin_of_text|>{}Be kind.\n\na pirate<|eot_id|>", header("system")),
        format!("{}In JSON.\nhow much is it?<|eot_id|>", header("user")),
        format!("{} call<|eot_id|>{}42<|eot_id|>", header("assistant"), header("ipython")),
        format!("{} 42<|eot_id|>", header("assistant")),
        format!("{}In JSON.\nthanks<|eot_id|>{} ?<|eot_id|>", header("user"), header("assistant")),
        format!("{}Use JSON.<|eot_id|>{}", header("ipython"), header("assistant")),
    ];
    assert_eq!(conversation(&dialect), expected.concat());
    assert!(dialect.between().text.is_empty(), "every exchange opens itself");
    assert_eq!(dialect.form(Vec::new()).lead, "");
}

#[test]
fn a_reply_begins_where_the_template_leaves_off() {
    // With a space of its own only where the template writes one before it.
    let end = "{% if add_generation_prompt %}<assistant>{% endif %}";
    let each = |before: &str| {
        format!(
            "{{% for m in messages %}}{{% if m.role == 'assistant' %}}<assistant>{before}\
             {{{{ m.content }}}}{{% else %}}<{{{{ m.role }}}}>{{{{ m.content }}}}{{% endif %}}\
             {{% endfor %}}{end}"
        )
    };
    for (template, lead, closes) in [
        (LLAMA_3, "", "assistant<|end_header_id|>\n\n"),
        (CHATML, "", "<|im_start|>assistant\n"),
        (MISTRAL, " ", " [/INST]"),
        (LLAMA_2, " ", " [/INST]"),
        (HEADINGS, "", "### Assistant says:\n"),
        (&each(""), "", "<assistant>"),
        (&each(" "), " ", "<assistant>"),
    ] {
        let dialect = dialect(template);
        assert_eq!(dialect.form(Vec::new()).lead, lead, "{template}");
        assert!(text(&dialect.question("In JSON.", "why?")).ends_with(closes), "{template}");
        assert!(text(&dialect.after_reply(Some("7"), None)).ends_with(closes), "{template}");
    }
    for dialect in [Dialect::React, Dialect::Llama2] {
        assert_eq!(dialect.form(Vec::new()).lead, " ");
    }
}

#[test]
fn what_a_template_writes_as_json_is_json() {
    let source = Source { add_bos: true, ..source(LLAMA_3_1) };
    let dialect = Dialect::Template(Arc::new(Template::new(source).unwrap()));
    let header = "<|start_header_id|>ipython<|end_header_id|>\n\n";
    for (said, notice) in [
        ("42", None),
        ("He said \"no\".\nThen \\n, a tab\tand </s> <b>&'é→", None),
        ("\"", Some("Use \"JSON\".\nNow.")),
        ("\\", None),
        ("[\"x\", {\"y\": null}]", None),
    ] {
        let segments = dialect.after_reply(Some(said), notice);
        let written = text(&segments);
        let (before, rest) = written.split_once(header).expect("a header");
        let (observation, after) = rest.split_once("<|eot_id|>").expect("an end");
        assert_eq!(before, "<|eot_id|>");
        assert_eq!(after, "<|start_header_id|>assistant<|end_header_id|>\n\n");
        let read: String = serde_json::from_str(observation).expect("a JSON string");
        let notice = notice.map(|notice| format!("\n{notice}")).unwrap_or_default();
        assert_eq!(read, format!("{said}{notice}"));
        // What the tool says is still the tool's, and no control token.
        assert_eq!(segments[1].origin, Origin::Tool);
    }
    // The person's words are not: this template writes them as they are.
    let question = text(&dialect.question("In JSON.", "is \"a\"\nb?"));
    assert!(question.contains("In JSON.\nis \"a\"\nb?<|eot_id|>"), "{question}");
}

#[test]
fn a_template_of_the_llama_3_1_kind() {
    let newer = Template::new(Source { add_bos: true, ..source(LLAMA_3_1) }).unwrap();
    assert_eq!(newer.tool_role(), "tool");
    let newer = conversation(&Dialect::Template(Arc::new(newer)));
    let older = conversation(&dialect(LLAMA_3)).replace("<|begin_of_text|>", "<s>");
    let older = older.replacen("\n\nBe", "\n\nToday: 1 Jan 2030\n\nBe", 1);
    // An observation is text, which this kind writes as JSON.
    let older =
        older.replace("\n\n42<", "\n\n\"42\"<").replace("\n\nUse JSON.<", "\n\n\"Use JSON.\"<");
    assert_eq!(newer, older);
}

#[test]
fn a_template_of_the_chatml_kind() {
    let dialect = dialect(CHATML);
    assert_eq!(dialect.name(), "template, observations as user");
    assert_eq!(
        conversation(&dialect),
        "<|im_start|>system\nBe kind.\n\na pirate<|im_end|>\n\
         <|im_start|>user\nIn JSON.\nhow much is it?<|im_end|>\n\
         <|im_start|>assistant\n call<|im_end|>\n<|im_start|>user\nObservation: 42<|im_end|>\n\
         <|im_start|>assistant\n 42<|im_end|>\n<|im_start|>user\nIn JSON.\nthanks<|im_end|>\n\
         <|im_start|>assistant\n ?<|im_end|>\n<|im_start|>user\nObservation: Use JSON.<|im_end|>\n\
         <|im_start|>assistant\n"
    );
    // A file may ask for a beginning that its template does not write.
    let asked = Template::new(Source { add_bos: true, ..source(CHATML) }).unwrap();
    let system = Dialect::Template(Arc::new(asked)).system("Be kind.", None);
    assert!(text(&system).starts_with("<s><|im_start|>system\n"));
}

#[test]
fn a_template_of_the_mistral_kind() {
    let dialect = dialect(MISTRAL);
    assert_eq!(
        conversation(&dialect),
        "<s>[INST] Be kind.\n\na pirate\n\nIn JSON.\nhow much is it? [/INST] call</s>\
         [INST] Observation: 42 [/INST] 42</s>[INST] In JSON.\nthanks [/INST] ?</s>\
         [INST] Observation: Use JSON. [/INST]"
    );
}

#[test]
fn the_template_of_llama_2_is_known() {
    let template = Template::new(source(LLAMA_2)).unwrap();
    assert!(template.is_llama_2());
    assert_eq!(
        conversation(&Dialect::Template(Arc::new(template))),
        conversation(&Dialect::Llama2)
    );
    for other in [LLAMA_3, CHATML, MISTRAL, HEADINGS] {
        assert!(!Template::new(source(other)).unwrap().is_llama_2());
    }
}

#[test]
fn templates_may_call_what_transformers_offers() {
    let template = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }};{% endif %}\
                {% if tools is not none %}{{ raise_exception('no tools were given') }}{% endif %}\
                {% for m in messages %}{% if m.get('absent') %}{% continue %}{% endif %}\
                <{{ m['role'].upper() }}>\
                {{ m.content if m.role == 'assistant' else m.content | tojson }}\n{% endfor %}";
    let dialect = dialect(template);
    let system = text(&dialect.system("Be \"kind\".", Some("a 'pirate'")));
    assert!(system.ends_with(r#";<SYSTEM>"Be \"kind\".\n\na 'pirate'""#), "{system}");
    let question = text(&dialect.question("In JSON.", "why?"));
    assert_eq!(question, "\n<USER>\"In JSON.\\nwhy?\"\n<ASSISTANT>");
    let reply = text(&dialect.after_reply(Some("a\nb"), None));
    assert_eq!(reply, "\n<USER>\"Observation: a\\nb\"\n<ASSISTANT>");
}

#[test]
fn where_the_system_message_would_be_left_out_it_opens_the_first_question() {
    let dialect = dialect(
        "{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endif %}\
         {% endfor %}",
    );
    assert_eq!(text(&dialect.system("Be kind.", None)), "<user>Be kind.\n\n");
    assert_eq!(dialect.between().text, "<user>");
}
