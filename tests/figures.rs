//! What decoding costs on the model in the box: the conversation this program
//! began with, with every way of saving work on and off.
#![cfg(feature = "embedded-model")]

use llama_agent::agent::event::{Event, Outcome};
use llama_agent::agent::prompts::Prompts;
use llama_agent::agent::{Agent, Options};
use llama_agent::chat::{Cancel, Dialect};
use llama_agent::decode::Switches;
use llama_agent::llm::Stats;
use llama_agent::llm::local::Local;
use llama_agent::tool::Registry;

static MODEL: &[u8] = include_bytes!("../models/calculator.gguf");

const QUESTIONS: [&str; 3] =
    ["hey how are you today?", "what is 4 to the power of 2.1?", "can you multiply that by 3?"];

/// The replies of a conversation, what each cost, and its last answer.
fn converse(switches: Switches, questions: &[&str]) -> (Vec<String>, Vec<Stats>, String) {
    let local = Local::from_bytes(MODEL, None).expect("the model in the box").with(switches);
    let mut agent = Agent::new(
        Box::new(local),
        Registry::standard(),
        Dialect::default(),
        Prompts::shipped(),
        None,
        Options { strict: true, ..Options::default() },
    )
    .expect("an agent");
    let (mut replies, mut costs, mut last) = (Vec::new(), Vec::new(), String::new());
    for question in questions {
        let outcome = agent.ask(question, &Cancel::new(), &mut |event| {
            if let Event::Reply { text, stats } = event {
                replies.push(text.to_string());
                costs.push(*stats);
            }
        });
        match outcome.expect("an outcome") {
            Outcome::Answered(answer) => last = answer,
            other => panic!("{question}: {other:?}"),
        }
    }
    (replies, costs, last)
}

#[test]
fn three_tokens_a_pass_and_each_processed_once() {
    let (_, costs, last) = converse(Switches::default(), &QUESTIONS);
    assert!(last.contains("55.13752103985769"), "{last}");
    let sum = |of: fn(&Stats) -> usize| costs.iter().map(of).sum::<usize>();
    let (produced, passes) = (sum(|stats| stats.produced), sum(|stats| stats.passes));
    let ratio = produced as f64 / passes as f64;
    println!(
        "{produced} tokens in {passes} passes, prefill included: {ratio:.2} a pass; \
         {} forced, {} of {} guessed right",
        sum(|stats| stats.forced),
        sum(|stats| stats.accepted),
        sum(|stats| stats.drafted),
    );
    assert!(ratio >= 3.0, "{ratio}");
    // What the cache can hold of the earlier prompt and its reply is not read
    // again, but for the last token, whose row is needed.
    let mut held = 0;
    for stats in &costs {
        assert!(stats.reused + 8 >= held, "{} of {held} were kept", stats.reused);
        held = stats.prompt + stats.produced;
    }
}

#[test]
fn switches_change_no_token_of_the_model_in_the_box() {
    let on = Switches::default();
    let all = converse(on, &QUESTIONS).0;
    for switches in [
        Switches { force: false, ..on },
        Switches { draft: 0, ..on },
        Switches { draft: 1, ..on },
        Switches { cache: false, ..on },
        Switches { form: false, ..on },
        Switches { form: false, force: false, draft: 0, cache: false },
    ] {
        assert_eq!(converse(switches, &QUESTIONS).0, all, "{switches:?}");
    }
}
