//! Reading replies, whatever they are: always some step, and a repair exactly
//! where there is a liberty.

use llama_agent::agent::step::{Reading, Repair, Step, read};
use llama_agent::chat::reply::{FINAL_ANSWER, render};
use proptest::prelude::*;

fn act(input: &str) -> Step {
    Step::Act { tool: "Calculator".into(), input: input.into() }
}

#[test]
fn every_spelling_of_the_final_answer() {
    for spelling in ["final answer", "FINAL ANSWER", "final_answer", "FinalAnswer", "Final-Answer"]
    {
        let reading = read(&render(spelling, "5"), false);
        // In these the JSON is right, so it is the meaning that is repaired.
        assert_eq!(reading.step, Step::Answer("5".into()), "{spelling}");
        assert_eq!(reading.repairs, [Repair::FinalAnswer], "{spelling}");
    }
}

/// Text made of what replies are made of.
fn crumbs() -> impl Strategy<Value = String> {
    let pieces = vec![
        "{",
        "}",
        "\"",
        "'",
        ":",
        ",",
        "\n",
        " ",
        "\\",
        "`",
        "```",
        "```json",
        "[",
        "]",
        "“",
        "”",
        "é",
        "action",
        "action_input",
        "\"action\": ",
        "\"action_input\": ",
        "\"Calculator\"",
        "\"4**2.1\"",
        "Final Answer",
        "True",
        "None",
        "12",
        "\\u",
        "d83d",
        "Observation:",
        "\u{a0}",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_rendered_reads_back(tool in any::<String>(), input in any::<String>()) {
        let text = render(&tool, &input);
        let step = if tool == FINAL_ANSWER {
            Step::Answer(input)
        } else {
            Step::Act { tool, input }
        };
        let expected = Reading { step, repairs: vec![] };
        prop_assert_eq!(read(&text, true), expected);
    }

    #[test]
    fn never_panics(text in any::<String>(), strict in any::<bool>()) {
        read(&text, strict);
    }

    #[test]
    fn prose_changes_nothing_else(input in any::<String>()) {
        let reading = read(&format!("Sure.\n{}", render("Calculator", &input)), false);
        prop_assert_eq!(reading.step, act(&input));
        prop_assert_eq!(reading.repairs, [Repair::Prose]);
    }

    #[test]
    fn crumbs_are_some_step(text in crumbs()) {
        lenience_has_names(&text)?;
    }

    #[test]
    fn a_broken_reply_is_some_step(
        input in "[a-z0-9*+\"'\\\\ {}`\n]{0,12}",
        at in any::<prop::sample::Index>(),
        length in 0usize..3,
        crumb in crumbs(),
    ) {
        let mut text: Vec<char> = render("Calculator", &input).chars().collect();
        let at = at.index(text.len());
        let end = (at + length).min(text.len());
        let crumb: Vec<char> = crumb.chars().take(6).collect();
        text.splice(at..end, crumb);
        lenience_has_names(&text.into_iter().collect::<String>())?;
    }
}

/// Read leniently there is a repair exactly when there is a difference, and
/// nothing is lost that could be read strictly.
fn lenience_has_names(text: &str) -> Result<(), TestCaseError> {
    let (strict, lenient) = (read(text, true), read(text, false));
    if matches!(lenient.step, Step::Unreadable { .. }) {
        let refused = matches!(strict.step, Step::Unreadable { .. });
        prop_assert!(refused, "{}", text);
        prop_assert!(lenient.repairs.is_empty());
    } else {
        prop_assert_eq!(lenient.repairs.is_empty(), lenient == strict, "{}", text);
    }
    prop_assert!(lenient.repairs.is_sorted());
    Ok(())
}
