//! Reading replies: everything is some step, every liberty has a name, and
//! read strictly there are none.

use llama_agent::agent::step::{Reading, Repair, Step, Why, read};
use llama_agent::chat::reply::{FINAL_ANSWER, render};

/// Calls the calculator with `4**2.1`.
fn call() -> Step {
    act("4**2.1")
}

fn act(input: &str) -> Step {
    Step::Act { tool: "Calculator".into(), input: input.into() }
}

fn answer(text: &str) -> Step {
    Step::Answer(text.into())
}

fn unreadable(why: Why) -> Step {
    Step::Unreadable { why }
}

const CALL: &str = "{\"action\": \"Calculator\",\n \"action_input\": \"4**2.1\"}";

fn fenced(json: &str) -> String {
    format!("```json\n{json}\n```")
}

/// Reply, step, repairs.
fn table() -> Vec<(String, Step, &'static [Repair])> {
    use Repair::*;
    let second = "{\"action\": \"Other\", \"action_input\": \"2\"}";
    vec![
        // As it should be.
        (render("Calculator", "4**2.1"), call(), &[]),
        (fenced(CALL), call(), &[]),
        (format!(" \n{}\n ", fenced(CALL)), call(), &[]),
        (format!("```json{CALL}```"), call(), &[]),
        (fenced("{\"action_input\": \"4**2.1\", \"action\": \"Calculator\"}"), call(), &[]),
        (render(FINAL_ANSWER, "It is 5."), answer("It is 5."), &[]),
        (render(FINAL_ANSWER, ""), answer(""), &[]),
        (render(FINAL_ANSWER, "a ```b``` {c} \"d\"\n\\e"), answer("a ```b``` {c} \"d\"\n\\e"), &[]),
        (
            fenced(r#"{"action": "Final Answer", "action_input": "\u00e9\ud83d\ude00"}"#),
            answer("é😀"),
            &[],
        ),
        // Around the object.
        (format!("Sure!\n{}", fenced(CALL)), call(), &[Prose]),
        (format!("{}\nHope it helps", fenced(CALL)), call(), &[Prose]),
        (format!("```\n{CALL}\n```"), call(), &[BareFence]),
        (CALL.into(), call(), &[NoFence]),
        (format!("I will use {{x}} here: {CALL} now"), call(), &[Prose, NoFence]),
        (format!("```JSON\n{CALL}\n```"), call(), &[FenceTag]),
        (format!("```python\n{CALL}\n```"), call(), &[FenceTag]),
        (format!("``` json\n{CALL}\n```"), call(), &[FenceTag]),
        (format!("```json\n{CALL}"), call(), &[UnclosedFence]),
        (format!("```json\n{CALL}\n``"), call(), &[Prose, UnclosedFence]),
        (format!("{CALL}\n```"), call(), &[NoFence]),
        (format!("{}\n{}", fenced(CALL), fenced(second)), call(), &[SecondBlock]),
        (format!("{CALL}\n{second}"), call(), &[NoFence, SecondBlock]),
        (format!("```x```\n{}", fenced(CALL)), call(), &[Prose]),
        (format!("[{CALL}]"), call(), &[Prose, NoFence]),
        // The object's own syntax.
        (
            fenced("{\"action\": \"Calculator\", \"action_input\": \"4**2.1\",}"),
            call(),
            &[TrailingComma],
        ),
        (
            fenced("{\"action\": \"Calculator\" \"action_input\": \"4**2.1\"}"),
            call(),
            &[MissingComma],
        ),
        (
            fenced("{\"action\": \"Calculator\"\n \"action_input\": \"4**2.1\"}"),
            call(),
            &[MissingComma],
        ),
        (
            fenced("{\"action\": \"Calculator\", \"action_input\": \"4**2.1\""),
            call(),
            &[MissingBrace],
        ),
        (
            "{\"action\": \"Calculator\", \"action_input\": \"4**2.1\"".into(),
            call(),
            &[NoFence, MissingBrace],
        ),
        (fenced("{'action': 'Calculator', 'action_input': '4**2.1'}"), call(), &[SingleQuotes]),
        (
            fenced("{'action': 'Final Answer', 'action_input': 'It's 5, isn't it?'}"),
            answer("It's 5, isn't it?"),
            &[SingleQuotes, InnerQuote],
        ),
        (
            fenced("{\"action\": \"Final Answer\", \"action_input\": \"I say \"five\" to you\"}"),
            answer("I say \"five\" to you"),
            &[InnerQuote],
        ),
        (fenced("{“action”: “Calculator”, “action_input”: “4**2.1”}"), call(), &[SmartQuotes]),
        (fenced("{action: \"Calculator\", action_input: \"4**2.1\"}"), call(), &[NoQuotes]),
        (fenced("{\"action\": Calculator, \"action_input\": 4**2.1}"), call(), &[NoQuotes]),
        (
            fenced("{\"action\": \"Calculator\",\u{a0}\"action_input\": \"4**2.1\"}"),
            call(),
            &[Whitespace],
        ),
        (
            fenced("{\"action\": \"Final Answer\", \"action_input\": \"one\ntwo\"}"),
            answer("one\ntwo"),
            &[RawNewline],
        ),
        (fenced(r#"{"action": "Calculator", "action_input": "4\*\*2.1"}"#), call(), &[Escape]),
        (
            fenced(r#"{"action": "Final Answer", "action_input": "\ud800 and \uZZ"}"#),
            answer("\u{fffd} and \u{fffd}ZZ"),
            &[Escape],
        ),
        // What it says.
        (
            fenced("{\"Action\": \"Calculator\", \"Action Input\": \"4**2.1\"}"),
            call(),
            &[KeySpelling],
        ),
        (
            fenced(
                "{\"thought\": \"hm\", \"action\": \"Calculator\", \"action_input\": \"4**2.1\"}",
            ),
            call(),
            &[ExtraKey],
        ),
        (
            fenced(
                "{\"action\": \"Calculator\", \"action\": \"Other\", \"action_input\": \"4**2.1\"}",
            ),
            call(),
            &[ExtraKey],
        ),
        (
            fenced(r#"{"action": "Final\_Answer", "action_input": "5"}"#),
            answer("5"),
            &[Escape, FinalAnswer],
        ),
        (
            fenced(r#"{"action": "Final\\_Answer", "action_input": "5"}"#),
            answer("5"),
            &[FinalAnswer],
        ),
        (fenced(r#"{"action\_input": "5", "action": "Final Answer"}"#), answer("5"), &[Escape]),
        (fenced("{\"action\": \"Calculator\", \"action_input\": 42}"), act("42"), &[InputNotText]),
        (
            fenced("{\"action\": \"Calculator\", \"action_input\": -4.50e3}"),
            act("-4.50e3"),
            &[InputNotText],
        ),
        (
            fenced("{\"action\": \"Calculator\", \"action_input\": {\"expression\": \"1+1\"}}"),
            act("1+1"),
            &[InputNotText],
        ),
        (
            fenced("{\"action\": \"Calculator\", \"action_input\": {\"a\": 1, \"b\": [2, 3]}}"),
            act("{\"a\": 1, \"b\": [2, 3]}"),
            &[InputNotText],
        ),
        (
            fenced("{\"action\": \"Calculator\", \"action_input\": [1, 2]}"),
            act("[1, 2]"),
            &[InputNotText],
        ),
        (
            fenced("{\"action\": \"Calculator\", \"action_input\": true}"),
            act("true"),
            &[InputNotText],
        ),
        (
            fenced("{\"action\": \"Calculator\", \"action_input\": True}"),
            act("true"),
            &[PythonLiteral, InputNotText],
        ),
        (
            fenced("{\"action\": \"Calculator\", \"action_input\": None}"),
            act(""),
            &[PythonLiteral, InputNotText],
        ),
        (
            fenced("{\"action\": \"Final Answer\", \"action_input\": \"use ```x``` here\",}"),
            answer("use ```x``` here"),
            &[TrailingComma],
        ),
        // Several at once.
        (
            "Here:\n```JSON\n{'Action': 'final answer', 'action_input': 'a\nb',}".into(),
            answer("a\nb"),
            &[
                Prose,
                FenceTag,
                UnclosedFence,
                TrailingComma,
                SingleQuotes,
                RawNewline,
                KeySpelling,
                FinalAnswer,
            ],
        ),
        // What cannot be read.
        ("".into(), unreadable(Why::Empty), &[]),
        (" \n".into(), unreadable(Why::Empty), &[]),
        ("The answer is 5.".into(), unreadable(Why::NoObject), &[]),
        ("```json\n```".into(), unreadable(Why::NoObject), &[]),
        ("{}".into(), unreadable(Why::NoAction), &[]),
        (fenced("{\"action_input\": \"1\"}"), unreadable(Why::NoAction), &[]),
        (fenced("{\"action\": \"Calculator\"}"), unreadable(Why::NoInput), &[]),
        (fenced("{\"action\": 5, \"action_input\": \"1\"}"), unreadable(Why::ActionNotText), &[]),
        (fenced("{\"action\": \"Calculator\", : \"1\"}"), unreadable(Why::NotJson), &[]),
        (fenced("{\"action\" \"Calculator\"}"), unreadable(Why::NotJson), &[]),
        (
            "```json\n{\"action\": \"Calculator\", \"action_input\": \"4**".into(),
            unreadable(Why::UnfinishedString),
            &[],
        ),
        (
            "{\"action\": \"Calculator\", \"action_input\": 4".into(),
            unreadable(Why::Unfinished),
            &[],
        ),
        ("{\"action\": \"Calculator\",".into(), unreadable(Why::Unfinished), &[]),
        (
            // The block inside the broken string is not a call.
            "{\"action\": \"Final Answer\", \"action_input\": \"like {\\\"action\\\": 1".into(),
            unreadable(Why::UnfinishedString),
            &[],
        ),
    ]
}

#[test]
fn replies() {
    let table = table();
    assert!(table.len() >= 60);
    let wrong: Vec<_> = table
        .into_iter()
        .map(|(text, step, repairs)| {
            (read(&text, false), Reading { step, repairs: repairs.into() }, text)
        })
        .filter(|(found, expected, _)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn strictly_there_are_no_repairs() {
    for (text, step, repairs) in table() {
        let strict = read(&text, true);
        assert_eq!(strict.repairs, []);
        match repairs {
            [] if !matches!(step, Step::Unreadable { .. }) => {
                assert_eq!(strict.step, step, "{text}")
            }
            [Repair::FinalAnswer] => assert!(matches!(strict.step, Step::Act { .. }), "{text}"),
            _ => assert!(matches!(strict.step, Step::Unreadable { .. }), "{text}"),
        }
    }
    for (text, why) in [
        ("", Why::Empty),
        (CALL, Why::NotOneBlock),
        ("```json\n[\"a\", \"b\"]\n```", Why::NotOneBlock),
        ("```json\n{\"action\": \"a\"}\n```", Why::NotTheTwoKeys),
        ("```json\n{\"action\": \"a\", \"action_input\": 5}\n```", Why::NotTheTwoKeys),
        (
            "```json\n{\"action\": \"a\", \"action_input\": \"b\", \"c\": 1}\n```",
            Why::NotTheTwoKeys,
        ),
        ("```json\n{\"action\": \"a\"", Why::Unfinished),
        ("```json\n{'action'}\n```", Why::NotJson),
    ] {
        assert_eq!(read(text, true).step, unreadable(why), "{text}");
    }
}

#[test]
fn names_are_distinct_and_every_repair_has_a_row() {
    let names: std::collections::BTreeSet<_> =
        Repair::ALL.iter().map(|repair| repair.name()).collect();
    assert_eq!(names.len(), Repair::ALL.len());
    assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
    let used: std::collections::BTreeSet<_> =
        table().into_iter().flat_map(|(_, _, repairs)| repairs.iter().copied()).collect();
    assert_eq!(used.into_iter().collect::<Vec<_>>(), Repair::ALL);
}
