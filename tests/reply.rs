//! Where a reply ends, and where an answer's own words begin.

use llama_agent::chat::ReplyForm;
use llama_agent::chat::dialect::Dialect;
use llama_agent::chat::reply::{FINAL_ANSWER, names_final_answer, render};
use proptest::prelude::*;

fn form() -> ReplyForm {
    Dialect::React.form(Vec::new())
}

/// What belongs to the reply, the rest, and whether it was closed.
const ENDS: &[(&str, &str, bool)] = &[
    ("```json\n{\"action\": \"A\",\n \"action_input\": \"1\"}\n```", "\nObservation: 1", true),
    (" ```json\n{\"action\": \"A\", \"action_input\": \"1\"}\n```", "", true),
    ("```json\n{\"action\": \"A\", \"action_input\": \"1\"}```", "```", true),
    ("```\n{\"action\": \"A\", \"action_input\": \"1\"}\n```", " more", true),
    ("{\"action\": \"A\", \"action_input\": \"1\"}", "\n```", true),
    ("Sure: {\"action\": \"A\"}", " more", true),
    ("a {set} of things: {\"action\": \"A\"}", "}", true),
    ("```json\n{\"a\": \"```\"}\n```", "x", true),
    ("```json\n{\"a\": \"}\\\"}```\"}\n```", "x", true),
    ("```json\n{\"a\": \"\\\\\"}\n```", "\"}\n```", true),
    ("```json\n{\"a\": {\"b\": [1, {}]}}\n```", "x", true),
    ("```json\n{\"a\": \"x\nObservation: 5\nUser: y\"}\n```", "\nUser: z", true),
    ("```json\n{'a': 'it's a } here'}\n```", "\n", true),
    ("```json\n{\"a\": \"1\"\n```", "\n}", true),
    ("```json\n{\"a\": \"1\"}\nso much\n```", "\n", true),
    ("```x```\n{\"a\": 1}", "\n```", true),
    ("```json\n{\"a\": \"1\"}", "\nObservation: 1", false),
    ("```json\n{\"a\": 1,", "\nUser: hello", false),
    ("I think it is 5.", "\n\n[INST] Respond", false),
    ("It is 5.", "\n  Observation: 5", false),
    ("", "Observation: 42", false),
    ("", " User: hi", false),
];

#[test]
fn ends() {
    for (reply, rest, closed) in ENDS {
        let text = format!("{reply}{rest}");
        assert_eq!(form().end(&text), Some((reply.len(), *closed)), "{text}");
    }
}

#[test]
fn no_end_yet() {
    for text in [
        "",
        "I think",
        "```json\n",
        "```json\n{",
        "```json\n{\"action\": \"A\", \"action_input\": \"1\"}",
        "```json\n{\"action\": \"A\", \"action_input\": \"1\"}\n``",
        "{\"a\": \"}```\nObservation: 1",
        "{\"a\": \"1\\\"}",
        "Observation",
        "the Observation: 5",
        "{'a': '1'",
    ] {
        assert_eq!(form().end(text), None, "{text}");
    }
    let free = ReplyForm { stop_lines: vec![String::new()], ..ReplyForm::default() };
    assert_eq!(free.end("Observation: 1"), None);
}

#[test]
fn rendering_is_the_form_on_paper() {
    let expected = "```json\n{\"action\": \"Calculator\",\n \"action_input\": \"4**2.1\"}\n```";
    assert_eq!(render("Calculator", "4**2.1"), expected);
    let expected = "```json\n{\"action\": \"A\",\n \"action_input\": \"√2 \\\"é\\\"\\n\"}\n```";
    assert_eq!(render("A", "√2 \"é\"\n"), expected);
}

#[test]
fn an_answers_words() {
    for (before, after) in [
        ("```json\n{\"action\": \"Final Answer\",\n \"action_input\": \"", "It is 5\"}\n```"),
        ("```json\n{\"action\": \"Final Answer\",\n \"action_input\": \"", ""),
        ("Well {x} {\"thought\": \"so\", \"action\": \"final_answer\", \"action_input\" : \"", "a"),
        ("{'action': 'Final Answer', 'action_input': '", "it's"),
    ] {
        assert_eq!(form().prose_start(&format!("{before}{after}")), Some(before.len()), "{before}");
    }
    for text in [
        "",
        "```json\n{\"action\": \"Final Answer\",\n \"action_input\": ",
        "```json\n{\"action\": \"Final Answer",
        "```json\n{\"action\": \"Calculator\",\n \"action_input\": \"4**2.1\"}",
        "{\"action_input\": \"Final Answer\"",
        "{\"action\": \"Final Answer\", \"action_input\": 5}",
    ] {
        assert_eq!(form().prose_start(text), None, "{text}");
    }
}

#[test]
fn names_of_the_final_answer() {
    for name in [FINAL_ANSWER, "final answer", "final_answer", "FinalAnswer", "Final\\_Answer"] {
        assert!(names_final_answer(name), "{name}");
    }
    for name in ["", "Final", "Answer", "Final Answers", "Calculator"] {
        assert!(!names_final_answer(name), "{name}");
    }
}

fn crumbs() -> impl Strategy<Value = String> {
    let pieces = vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "\\",
        "`",
        "```",
        "```json\n",
        "\n",
        " ",
        ":",
        ",",
        "a",
        "é",
        "“",
        "Observation:",
        "User:",
        "\"action\": \"Final Answer\", \"action_input\": \"",
        "[INST]",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

/// Calls `end` and `prose_start` on every prefix, as a decoder does.
fn as_it_grows(text: &str) -> Result<(), TestCaseError> {
    let (mut ended, mut prose) = (None, None);
    for length in (0..=text.len()).filter(|length| text.is_char_boundary(*length)) {
        let prefix = &text[..length];
        let (end, start) = (form().end(prefix), form().prose_start(prefix));
        if let Some((bytes, _)) = end {
            prop_assert!(bytes <= length && prefix.is_char_boundary(bytes));
        }
        prop_assert!(ended.is_none() || end == ended, "{prefix:?}: {ended:?} became {end:?}");
        prop_assert!(prose.is_none() || start == prose, "{prefix:?}: {prose:?} became {start:?}");
        prop_assert!(start.is_none_or(|start| prefix.is_char_boundary(start)));
        (ended, prose) = (end, start);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn ends_never_move(text in crumbs()) {
        as_it_grows(&text)?;
    }

    #[test]
    fn any_text_is_safe(text in any::<String>()) {
        as_it_grows(&text)?;
    }

    #[test]
    fn a_rendered_reply_ends_at_its_end(
        action in any::<String>(), input in any::<String>(), rest in any::<String>()
    ) {
        let reply = render(&action, &input);
        for length in (0..reply.len()).filter(|length| reply.is_char_boundary(*length)) {
            prop_assert_eq!(form().end(&reply[..length]), None);
        }
        prop_assert_eq!(form().end(&format!("{reply}{rest}")), Some((reply.len(), true)));
    }

    #[test]
    fn words_of_a_rendered_answer(input in any::<String>()) {
        let reply = render(FINAL_ANSWER, &input);
        let start = reply.find("_input\": \"").map(|at| at + "_input\": \"".len());
        prop_assert_eq!(form().prose_start(&reply), start);
    }
}
