//! The loop, on scripted replies: how turns end.

mod scripted;

use std::time::Duration;

use llama_agent::agent::Options;
use llama_agent::agent::event::{NoAnswer, Outcome, Stop};
use llama_agent::chat::reply::render;
use scripted::{answer, answered, bench, bench_with, call};

#[test]
fn a_call_is_observed_and_an_answer_ends_the_turn() {
    let mut bench =
        bench(Options::default(), &[call("4**2.1"), answer("It is 18.37917367995256.")]);
    let (outcome, events) = bench.ask("what is 4 to the power of 2.1?");
    assert_eq!(outcome, answered("It is 18.37917367995256."));
    assert_eq!(events, ["observed 18.37917367995256 false"]);
    let paper = bench.agent.prompt().text();
    let end = paper.split("<</SYS>>").nth(1).unwrap();
    assert_eq!(
        end,
        "\n\n[INST] Respond to the following in JSON with 'action' and 'action_input' values \
         [/INST]\nUser: what is 4 to the power of 2.1?\nAssistant: ```json\n{\"action\": \
         \"Calculator\",\n \"action_input\": \"4**2.1\"}\n```\nObservation: \
         18.37917367995256\nAssistant: ```json\n{\"action\": \"Final Answer\",\n \
         \"action_input\": \"It is 18.37917367995256.\"}\n```"
    );
}

#[test]
fn steps_that_run_out_leave_one_reply_for_an_answer() {
    let options = Options { max_steps: 2, ..Options::default() };
    let replies = [call("1+1"), call("2+2"), answer("So far 2 and 4.")];
    let mut bench = bench(options, &replies);
    let (outcome, events) = bench.ask("go on and on");
    assert_eq!(outcome, answered("So far 2 and 4."));
    assert_eq!(events, ["observed 2 false", "observed 4 false", "stopping Steps", "last"]);
    let prompts = bench.prompts.lock().unwrap();
    assert!(prompts[2].text().contains("Observation: 4\nThe steps for this question are used up."));
}

#[test]
fn a_last_reply_that_is_no_answer_ends_the_turn_without_one() {
    let options = Options { max_steps: 1, ..Options::default() };
    let mut bench = bench(options, &[answer("hi"), call("1+1"), call("2+2")]);
    bench.ask("hello");
    let (outcome, _) = bench.ask("go on and on");
    assert_eq!(outcome, Outcome::NoAnswer(NoAnswer::Stopped(Stop::Steps)));
    assert_eq!(bench.remembered(), ["hello"]);
}

#[test]
fn a_repeated_call_is_not_made_again() {
    let mut bench = bench(Options::default(), &[call("1+1"), call("1+1"), answer("It is 2.")]);
    let (outcome, events) = bench.ask("what is 1+1");
    assert_eq!(outcome, answered("It is 2."));
    assert_eq!(events, ["observed 2 false", "stopping Repeated", "last"]);
}

#[test]
fn time_that_runs_out_leaves_one_reply_for_an_answer() {
    let options = Options { max_time: Some(Duration::from_millis(30)), ..Options::default() };
    let mut bench = bench_with(options, 1 << 20, 40, &[call("1+1"), answer("No time to look.")]);
    let (outcome, events) = bench.ask("what is 1+1");
    assert_eq!(outcome, answered("No time to look."));
    assert_eq!(events, ["stopping Time", "last"]);
}

#[test]
fn three_unreadable_replies_in_a_row_end_the_turn() {
    let junk = || " no idea what to do".to_string();
    let mut bench = bench(
        Options::default(),
        &[junk(), junk(), call("1+1"), junk(), junk(), answer("2"), junk(), junk(), junk()],
    );
    assert_eq!(bench.ask("what is 1+1").0, answered("2"));
    let (outcome, events) = bench.ask("and now?");
    assert!(matches!(outcome, Outcome::NoAnswer(NoAnswer::Unreadable(_))));
    assert_eq!(events, ["unreadable"; 3]);
    assert_eq!(bench.remembered(), ["what is 1+1"]);
}

#[test]
fn an_unknown_tool_is_answered_with_the_names_that_exist() {
    let lookup = format!(" {}", render("Wikipedia", "Rome"));
    let mut bench = bench(Options::default(), &[lookup, answer("I cannot look that up.")]);
    let (_, events) = bench.ask("where is Rome?");
    assert_eq!(events.len(), 1);
    assert!(events[0].contains("There is no tool named \"Wikipedia\""), "{events:?}");
    assert!(events[0].contains("Calculator, Echo"), "{events:?}");
}
