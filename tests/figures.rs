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

fn agent(switches: Switches, memory: usize) -> Agent {
    let local = Local::from_bytes(MODEL, None).expect("the model in the box").with(switches);
    Agent::new(
        Box::new(local),
        Registry::standard(),
        Dialect::default(),
        Prompts::shipped(),
        None,
        Options { strict: true, memory, ..Options::default() },
    )
    .expect("an agent")
}

/// Asks one question: its replies, and what each cost.
fn ask(agent: &mut Agent, question: &str) -> (Vec<String>, Vec<Stats>) {
    let (mut replies, mut costs) = (Vec::new(), Vec::new());
    let outcome = agent.ask(question, &Cancel::new(), &mut |event| {
        if let Event::Reply { text, stats } = event {
            replies.push(text.to_string());
            costs.push(*stats);
        }
    });
    assert!(matches!(outcome, Ok(Outcome::Answered(_))), "{question}: {outcome:?}");
    (replies, costs)
}

/// The replies of a conversation, and what each cost.
fn converse(switches: Switches, questions: &[&str]) -> (Vec<String>, Vec<Stats>) {
    let mut agent = agent(switches, 5);
    let turns = questions.iter().map(|question| ask(&mut agent, question));
    let (replies, costs): (Vec<_>, Vec<_>) = turns.unzip();
    (replies.concat(), costs.concat())
}

#[test]
fn three_tokens_a_pass_and_each_processed_once() {
    let (replies, costs) = converse(Switches::default(), &QUESTIONS);
    assert!(replies.last().is_some_and(|last| last.contains("55.13752103985769")), "{replies:?}");
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

/// When the window has moved, what follows the system message is prepared
/// while a person types; the question then costs its own tokens alone. Stopped
/// at any time, what is done already counts, and the reply is the same.
#[test]
fn what_is_prepared_while_typing_is_not_processed_again() {
    let mut costs = Vec::new();
    for prepared in [None, Some(false), Some(true)] {
        let mut agent = agent(Switches::default(), 2);
        for question in ["what is 7*8?", "what is 10-4?", "what is 3+4?"] {
            ask(&mut agent, question);
        }
        assert_eq!(agent.memory().len(), 2);
        if let Some(typed) = prepared {
            let cancel = Cancel::new();
            if typed {
                // The question is there before anything could be prepared.
                cancel.ask();
            }
            agent.prepare(&cancel).expect("prepared");
        }
        let (held, _) = agent.count(&agent.prompt()).expect("a count");
        let (replies, cost) = ask(&mut agent, "what is 4 to the power of 2.1?");
        assert!(replies[0].contains("4**2.1"), "{replies:?}");
        costs.push((held, cost[0], replies));
    }
    let [(held, none, first), (_, ready, second), (_, stopped, third)] = &costs[..] else {
        panic!("three ways");
    };
    println!(
        "{} prompt tokens: {} processed after the question, {} without preparation",
        ready.prompt,
        ready.prompt - ready.reused,
        none.prompt - none.reused
    );
    assert_eq!((ready.reused, ready.passes < none.passes), (*held, true));
    assert!(none.reused < *held && stopped.reused == none.reused);
    assert!(first == second && first == third);
}
