//! Replies that keep to their form: whatever a model would like to write, what
//! comes out can be read, says something that can be done, and ends in time.

mod support;

use std::sync::Arc;

use llama_agent::agent::step::{Step, read};
use llama_agent::chat::reply::{FINAL_ANSWER, render};
use llama_agent::chat::{
    Cancel, InputForm, Origin, Prompt, ReplyForm, Sampling, Segment, ToolForm,
};
use llama_agent::decode::Forms;
use llama_agent::llama::{Gguf, Tokenizer};
use llama_agent::llm::local::Local;
use llama_agent::llm::{End, Llm, Request};
use llama_agent::tool::calculator::check;
use support::{Random, Tiny, byte_level};

fn tiny() -> Tiny {
    Tiny { vocab: 1024, context: 2048, scale: 0.3, ..Tiny::default() }
}

fn tokenizer() -> Arc<Tokenizer> {
    tokenizer_of(tiny())
}

fn tokenizer_of(tiny: Tiny) -> Arc<Tokenizer> {
    let gguf = Gguf::from_bytes(Tiny { layers: 1, ..tiny }.bytes()).unwrap();
    Arc::new(Tokenizer::from_gguf(&gguf).unwrap())
}

fn tools() -> Vec<ToolForm> {
    vec![
        ToolForm { name: "Calculator".into(), input: InputForm::Arithmetic },
        ToolForm { name: "Say \"so\"".into(), input: InputForm::Text },
    ]
}

fn form(tools: Vec<ToolForm>) -> ReplyForm {
    ReplyForm { lead: " ", tools, stop_lines: Vec::new() }
}

/// What must hold for every reply. Returns the name of its action.
fn assert_usable(text: &str) -> String {
    let reading = read(text, true);
    match reading.step {
        Step::Answer(_) => FINAL_ANSWER.into(),
        Step::Act { tool, input } => {
            match tools().into_iter().find(|form| form.name == tool) {
                Some(ToolForm { input: InputForm::Arithmetic, .. }) => {
                    assert!(check(&input).is_ok(), "{input:?}: {:?}", check(&input));
                }
                Some(_) => {}
                None => panic!("there is no tool {tool:?}"),
            }
            tool
        }
        Step::Unreadable { why } => panic!("{why} in {text:?}"),
    }
}

/// Walks through the form at random, at every place any allowed token.
fn walk(forms: &mut Forms, tokenizer: &Tokenizer, room: usize, random: &mut Random) -> String {
    let reply = form(tools());
    let mut form = forms.form(&reply, room).unwrap();
    let mut ids = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&tokenizer.decode(&ids)).into_owned();
        if reply.end(&text).is_some() {
            return text;
        }
        assert!(ids.len() < room, "{room} tokens are not enough: {text:?}");
        let allowed = form.allowed().unwrap();
        let any: Vec<u32> =
            (0..tokenizer.vocab_len() as u32).filter(|id| allowed.has(*id)).collect();
        let id = any[(random.next() % any.len() as u64) as usize];
        form.push(id).unwrap();
        ids.push(id);
    }
}

#[test]
fn any_walk_through_the_form_ends_in_time() {
    walks(tokenizer());
}

#[test]
fn any_walk_on_byte_level_pieces_ends_in_time() {
    walks(tokenizer_of(byte_level::tiny()));
}

fn walks(tokenizer: Arc<Tokenizer>) {
    let mut forms = Forms::new(tokenizer.clone()).unwrap();
    let mut random = Random(3);
    let mut names = std::collections::BTreeMap::new();
    for room in (110..160).chain([300, 700]).cycle().take(400) {
        let text = walk(&mut forms, &tokenizer, room, &mut random);
        *names.entry(assert_usable(&text)).or_insert(0) += 1;
    }
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.values().all(|count| *count > 20), "{names:?}");
}

#[test]
fn a_model_of_random_weights_makes_sense() {
    random_replies(tiny());
}

#[test]
fn so_does_one_with_byte_level_pieces() {
    random_replies(byte_level::tiny());
}

fn random_replies(tiny: Tiny) {
    let mut local = Local::from_bytes(Tiny { layers: 1, ..tiny }.bytes(), None).unwrap();
    let prompt = prompt("what is 4 to the power of 2.1?");
    let mut longest = 0;
    for seed in 0..300 {
        let room = [128, 160, 250][seed as usize % 3];
        let sampling = Sampling { temperature: 2.0, seed, ..Sampling::default() };
        let form = ReplyForm { stop_lines: vec!["User:".into()], ..form(tools()) };
        let request = Request {
            prompt: &prompt,
            form: &form,
            sampling: &sampling,
            max_new_tokens: room,
            cancel: &Cancel::new(),
        };
        let completion = local.complete(&request, &mut |_| {}).unwrap();
        assert_usable(&completion.reply.text);
        assert_eq!(completion.end, End::Closed);
        assert!(completion.stats.produced <= room);
        longest = longest.max(completion.stats.produced);
    }
    assert!(longest > 128, "the longest has {longest} tokens");
}

#[test]
fn without_tools_only_an_answer_is_left() {
    let tokenizer = tokenizer();
    let mut forms = Forms::new(tokenizer.clone()).unwrap();
    let mut form = forms.form(&form(Vec::new()), 200).unwrap();
    let mut start = Vec::new();
    while let Some(id) = form.forced() {
        form.push(id).unwrap();
        start.push(id);
    }
    let text = String::from_utf8(tokenizer.decode(&start)).unwrap();
    let whole = format!(" {}", render(FINAL_ANSWER, ""));
    let opened = whole.strip_suffix("\"}\n```").unwrap();
    assert_eq!(text, opened);
}

fn prompt(question: &str) -> Prompt {
    Prompt::from_iter([
        Segment::new(Origin::Frame, "<s>[INST] JSON [/INST]\nUser:"),
        Segment::new(Origin::Person, format!(" {question}")),
        Segment::new(Origin::Frame, "\nAssistant:"),
    ])
}

/// How much of a reply, in bytes, the form lets pass.
fn passes(action: &str, input: &str) -> bool {
    let tokenizer = tokenizer();
    let mut forms = Forms::new(tokenizer.clone()).unwrap();
    let ids = tokenizer.encode(&format!(" {}", render(action, input)), false, false);
    let mut cut = ids.clone();
    forms.form(&form(tools()), 9999).unwrap().cut(&mut cut).unwrap();
    cut == ids
}

#[test]
fn expressions_as_the_model_was_trained_to_write_them_are_allowed() {
    for expression in [
        "4**2.1",
        "18.37917367995256*3",
        "((1 - (lcm(12,35) * pi))) - mod(216, 10) * round(25.6427, 3)",
        "((1 ÷ 90) - √5)^2 + 4",
        "((15.43/5.2)--7.4)+3",
        "((16 - e / 3) - -52) * 1 / 28",
        "(17*(506-44%))+56",
        "((32%+948))/√3",
        "((56*1 % 77)+3)-e*1",
        "(13/8)-(2!)**3",
        "(75% * 2pi) - 88",
        "((8 + 2) + 3.75e5 - 14 + 4) - π",
        "(-0.00016002560409665546)**2",
        "20% of 50",
        "50+20%",
        "mean(85,95,25)*max(1, 2)-min(3,4,5)",
        "sin(35°)+cos(pi/6)−tan(2)",
        "sqrt 16.5+12",
        "--108 * 19 + 1",
        "9.33262154439441e+157/2",
        "2(3+4)",
        "5 % 3",
        "factorial(18)/gcd(494, 54)",
        "foo(3) + 1",
        "2*quux(1, pi)",
    ] {
        assert!(check(expression).is_ok(), "{expression}");
        assert!(passes("Calculator", expression), "{expression}");
    }
}

#[test]
fn what_cannot_be_worked_out_is_not_allowed() {
    for expression in [
        "",
        "()",
        "1+",
        "+1",
        "*2",
        "(1",
        "1)",
        "1 2",
        "1..2",
        "1,250",
        "5!!",
        "2**",
        "sqrt()",
        "mod(1)",
        "sqrt(1, 2)",
        "foo",
        "quux()",
        "plus(2)",
        "x+1",
        "1=1",
        "1//2",
        "9e999",
        "\"1\"",
        "1+1\n",
    ] {
        assert!(!passes("Calculator", expression), "{expression}");
    }
    assert!(passes("Say \"so\"", "what? \"1\" \\ é 🦙\n\t"));
    assert!(!passes("Say so", "1") && !passes("calculator", "1"));
    assert!(!passes("Say \"so\"", "\u{1}"));
}

#[test]
fn forced_tokens_are_those_of_the_tokenizer() {
    forced(tokenizer());
}

#[test]
fn so_are_those_of_byte_level_pieces() {
    forced(tokenizer_of(byte_level::tiny()));
}

fn forced(tokenizer: Arc<Tokenizer>) {
    let mut forms = Forms::new(tokenizer.clone()).unwrap();
    for (action, input) in [
        ("Calculator", "18.37917367995256*3"),
        ("Calculator", "0-1e+17"),
        (FINAL_ANSWER, "It is 42, and what is on?"),
        (FINAL_ANSWER, " 7"),
        ("Say \"so\"", "the action"),
    ] {
        for lead in [" ", ""] {
            let whole = format!("{lead}{}", render(action, input));
            let whole = tokenizer.encode(&whole, false, false);
            let mut form = forms.form(&ReplyForm { lead, ..form(tools()) }, 300).unwrap();
            let mut forced = 0;
            for (at, id) in whole.iter().enumerate() {
                if let Some(only) = form.forced() {
                    let text = tokenizer.decode(&whole[..at]);
                    let text = String::from_utf8_lossy(&text);
                    assert_eq!(only, *id, "{action} {input:?} after {text:?}");
                    forced += 1;
                }
                form.push(*id).unwrap();
            }
            assert!(forced > 15, "{forced} of {} were forced", whole.len());
        }
    }
}
