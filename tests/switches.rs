//! The same tokens, however they are come by: forced or chosen, guessed or
//! not, with or without what the cache holds.

mod support;

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use llama_agent::chat::reply::render;
use llama_agent::chat::{
    Cancel, InputForm, Origin, Prompt, ReplyForm, Sampling, Segment, ToolForm,
};
use llama_agent::decode::Switches;
use llama_agent::llama::{Choice, Forward, Gguf, Rows, Tokenizer, Want};
use llama_agent::llm::local::Local;
use llama_agent::llm::{Completion, Llm, Request};
use support::{Random, Tiny};

/// An engine without weights that likes to say what came after the last token
/// before. A row depends on nothing but the tokens up to its own.
#[derive(Default)]
struct Echo(Vec<u32>);

const VOCAB: usize = 1024;

impl Forward for Echo {
    fn forward(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        if cancel.is_set() {
            return Ok(None);
        }
        self.0.extend_from_slice(tokens);
        let rows = want.rows(tokens.len());
        let first = self.0.len() + 1 - rows;
        Ok(Some((first..=self.0.len()).flat_map(|length| row(&self.0[..length])).collect()))
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn context(&self) -> usize {
        4096
    }

    fn vocab(&self) -> usize {
        VOCAB
    }

    fn chunk(&self) -> usize {
        32
    }
}

/// The same with rows that stay in the engine, as a GPU's do, until its next pass.
#[derive(Default)]
struct Far {
    echo: Echo,
    rows: Vec<f32>,
}

impl Forward for Far {
    fn forward(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Vec<f32>>> {
        self.rows.clear();
        self.echo.forward(tokens, want, cancel)
    }

    fn process(&mut self, tokens: &[u32], want: Want, cancel: &Cancel) -> Result<Option<Rows>> {
        let Some(rows) = self.forward(tokens, want, cancel)? else { return Ok(None) };
        self.rows = rows;
        Ok(Some(Rows::There))
    }

    fn choose(&mut self, rows: &Rows, row: usize, choice: &Choice) -> Result<u32> {
        ensure!(*rows == Rows::There, "rows of another engine");
        let row = self.rows.chunks(VOCAB).nth(row).context("a row of no pass")?;
        Ok(choice.of(row)?)
    }

    fn truncate(&mut self, len: usize) {
        self.echo.truncate(len);
    }

    fn len(&self) -> usize {
        self.echo.len()
    }

    fn context(&self) -> usize {
        self.echo.context()
    }

    fn vocab(&self) -> usize {
        self.echo.vocab()
    }

    fn chunk(&self) -> usize {
        self.echo.chunk()
    }
}

fn row(text: &[u32]) -> Vec<f32> {
    let (before, last) = (text[text.len().saturating_sub(2)], text[text.len() - 1]);
    let mut random = Random(u64::from(before) << 32 | u64::from(last));
    let mut row: Vec<f32> = (0..VOCAB).map(|_| 3.0 * random.unit()).collect();
    let pairs = text.windows(2).rev().filter(|pair| pair[0] == last);
    for (pair, liking) in pairs.zip([6.0, 5.0, 5.0, 4.0]) {
        row[pair[1] as usize] += liking;
    }
    row
}

fn tokenizer() -> Tokenizer {
    let tiny = Tiny { layers: 1, vocab: VOCAB, ..Tiny::default() };
    Tokenizer::from_gguf(&Gguf::from_bytes(tiny.bytes()).unwrap()).unwrap()
}

fn frame(text: impl Into<String>) -> Segment {
    Segment::new(Origin::Frame, text)
}

/// A turn after a turn, and what a tool said.
fn prompt() -> Prompt {
    let answer = "It looks like the answer is 18.37917367995256!";
    Prompt::from_iter([
        frame("<s>the action in JSON\nUser:"),
        Segment::new(Origin::Person, " what is 4**2.1?"),
        frame("\nAssistant:"),
        Segment::new(Origin::Model, format!(" {}", render("Calculator", "4**2.1"))),
        frame("\nObservation:"),
        Segment::new(Origin::Tool, " 18.37917367995256"),
        frame("\nAssistant:"),
        Segment::new(Origin::Model, format!(" {}", render("Final Answer", answer))),
        frame("\nUser:"),
        Segment::new(Origin::Person, " and 5**2.5?"),
        frame("\nAssistant:"),
        Segment::new(Origin::Model, format!(" {}", render("Calculator", "5**2.5"))),
        frame("\nObservation:"),
        Segment::new(Origin::Tool, " 55.90169943749474"),
        frame("\nAssistant:"),
    ])
}

fn form() -> ReplyForm {
    let calculator = ToolForm { name: "Calculator".into(), input: InputForm::Arithmetic };
    ReplyForm { lead: " ", tools: vec![calculator], stop_lines: vec!["Observation:".into()] }
}

fn complete(local: &mut Local, temperature: f64, seed: u64) -> Completion {
    let request = Request {
        prompt: &prompt(),
        form: &form(),
        sampling: &Sampling { temperature, seed, ..Sampling::default() },
        max_new_tokens: 160,
        cancel: &Cancel::new(),
    };
    local.complete(&request, &mut |_| {}).unwrap()
}

/// Everything on, each thing off by itself, and all of it off.
fn combinations() -> Vec<Switches> {
    let on = Switches::default();
    vec![
        on,
        Switches { force: false, ..on },
        Switches { draft: 0, ..on },
        Switches { draft: 1, ..on },
        Switches { draft: 50, ..on },
        Switches { cache: false, ..on },
        Switches { force: false, draft: 0, cache: false, ..on },
    ]
}

#[test]
fn switches_change_no_token() {
    let open = |switches, engine: Box<dyn Forward>| {
        (switches, Local::new(engine, tokenizer()).unwrap().with(switches))
    };
    for form in [true, false] {
        let switches = combinations().into_iter().map(|on| Switches { form, ..on });
        let mut locals: Vec<_> =
            switches.clone().map(|on| open(on, Box::<Echo>::default())).collect();
        locals.extend(switches.take(5).map(|on| open(on, Box::<Far>::default())));
        let mut ends = HashMap::new();
        for seed in 0..60 {
            let temperature = [0.0, 0.7, 1.0, 2.0][seed as usize % 4];
            let mut first: Option<Completion> = None;
            for (switches, local) in &mut locals {
                let completion = complete(local, temperature, seed);
                let Completion { stats, .. } = &completion;
                *ends.entry(format!("{:?}", completion.end)).or_insert(0) += 1;
                assert_eq!(stats.forced > 0, switches.force && form);
                assert!(
                    stats.accepted <= stats.drafted && (switches.draft > 0 || stats.drafted == 0)
                );
                assert!(stats.reused == 0 || switches.cache);
                let first = first.get_or_insert_with(|| completion.clone());
                assert_eq!(completion.reply, first.reply, "{switches:?}, seed {seed}");
                assert_eq!(completion.end, first.end);
            }
        }
        assert!(!form || ends.keys().eq(["Closed"]), "{ends:?}");
    }
}

/// A guess that is confirmed by comparing it with the model's own choice leaves
/// the distribution as it is: here of the token that a guess is made for.
#[test]
fn guesses_do_not_shift_the_distribution() {
    let count = |draft: usize| {
        let switches = Switches { draft, ..Switches::default() };
        let mut local = Local::new(Box::new(Echo::default()), tokenizer()).unwrap().with(switches);
        let (mut counts, mut drafted, mut accepted) = (HashMap::new(), 0, 0);
        for seed in 0..1500 {
            // Other seeds: the same tokens would come of the same ones.
            let seed = seed + 10_000 * draft as u64;
            let completion = complete(&mut local, 1.0, seed);
            let text = completion.reply.text;
            let input = text.split("\"action_input\": \"").nth(1).unwrap_or_default();
            *counts.entry(input.chars().take(2).collect::<String>()).or_insert(0.0) += 1.0;
            (drafted, accepted) =
                (drafted + completion.stats.drafted, accepted + completion.stats.accepted);
        }
        (counts, drafted, accepted)
    };
    let (without, none, _) = count(0);
    let (with, drafted, accepted) = count(8);
    assert!(none == 0 && accepted > 1500 && drafted > accepted + 1500, "{accepted} of {drafted}");
    // Two-sample chi-squared (Press et al., Numerical Recipes, 14.3) over what
    // occurs often enough; beyond 4 standard deviations of its normal limit is
    // one case in 30,000, and the seeds are fixed.
    let mut names: Vec<&String> = without.keys().chain(with.keys()).collect();
    names.sort();
    names.dedup();
    let of = |counts: &HashMap<String, f64>, name: &String| *counts.get(name).unwrap_or(&0.0);
    let (mut sum, mut classes) = (0.0, 0.0);
    for name in names {
        let (a, b) = (of(&without, name), of(&with, name));
        if a + b >= 10.0 {
            sum += (a - b) * (a - b) / (a + b);
            classes += 1.0;
        }
    }
    println!("chi-squared {sum:.1} in {classes} classes, {accepted} of {drafted} guesses right");
    assert!(classes >= 5.0 && sum < classes + 4.0 * f64::sqrt(2.0 * classes), "{sum} in {classes}");
}
