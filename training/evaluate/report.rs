//! Tables for the model card, and the list of what went wrong.

use std::fmt::Write;
use std::time::Duration;

use llama_agent::llm::Stats;

use super::Asked;
use super::case::{Case, Part, Turn, Want};

/// Prints a table a part, then the totals.
pub fn tables(asked: &[Asked], time: Duration) {
    for part in Part::ALL {
        let asked: Vec<&Asked> = asked.iter().filter(|asked| asked.part == part).collect();
        if !asked.is_empty() {
            println!("{}", table(part, &asked));
        }
    }
    println!("{}", totals(asked, time));
}

fn table(part: Part, asked: &[&Asked]) -> String {
    let mut categories: Vec<&str> = asked.iter().map(|asked| asked.category.as_str()).collect();
    categories.sort_unstable();
    categories.dedup();
    let mut out = format!("| {} | turns | right | % |\n|---|---:|---:|---:|\n", part.title());
    let mut row = |name: &str, asked: &[&Asked]| {
        let right = asked.iter().filter(|asked| asked.verdict.right).count();
        let share = percent(right, asked.len(), 1);
        let _ = writeln!(out, "| {name} | {} | {right} | {share} |", asked.len());
    };
    for category in categories {
        let asked: Vec<&Asked> =
            asked.iter().copied().filter(|asked| asked.category == category).collect();
        row(category, &asked);
    }
    row("**all**", asked);
    // One wrong turn makes every later one that builds on it wrong too.
    let clean: Vec<&Asked> = asked.iter().copied().filter(|asked| asked.clean).collect();
    row("all with nothing wrong before", &clean);
    out
}

fn totals(asked: &[Asked], time: Duration) -> String {
    let copies: Vec<bool> = asked.iter().filter_map(|asked| asked.verdict.copied).collect();
    let exact = copies.iter().filter(|exact| **exact).count();
    let unreadable: usize = asked.iter().map(|asked| asked.heard.unreadable).sum();
    let each = time.as_secs_f64() / asked.len().max(1) as f64;
    let mut cost = Stats::default();
    asked.iter().for_each(|asked| cost += asked.heard.cost);
    format!(
        "Copied results exact: {exact} of {} ({} %). Replies that needed repair: {unreadable}. \
         {} turns in {:.0} s, {each:.2} s each; {} tokens in {} passes, prefill included, {} \
         forced, {} of {} guessed right.",
        copies.len(),
        percent(exact, copies.len(), 2),
        asked.len(),
        time.as_secs_f64(),
        cost.produced,
        cost.passes,
        cost.forced,
        cost.accepted,
        cost.drafted,
    )
}

/// Rounded down, so that only all of them are 100.
fn percent(part: usize, whole: usize, places: usize) -> String {
    let scale = 10f64.powi(places as i32);
    let share = 100.0 * part as f64 / whole.max(1) as f64;
    format!("{:.places$}", (share * scale).floor() / scale)
}

/// Every turn that was not right or not copied exactly, as it went.
pub fn failures(asked: &[Asked]) -> String {
    let mut out = String::new();
    for asked in asked {
        let Asked { part, category, before, turn, heard, verdict, .. } = asked;
        if verdict.right && verdict.copied != Some(false) {
            continue;
        }
        let _ = writeln!(out, "[{part:?}, {category}] expected {}", expected(turn));
        for question in before {
            let _ = writeln!(out, "  … {question}");
        }
        let _ = writeln!(out, "  > {}", turn.question);
        for call in &heard.calls {
            let _ = writeln!(out, "  {}: {} -> {}", call.tool, call.input, call.said);
        }
        let _ = writeln!(out, "  {}\n", heard.answer.as_deref().unwrap_or(&heard.end));
    }
    out
}

/// Prints how the turns differ from the same turns decoded plainly, and how
/// many of them are worse.
pub fn comparison(asked: &[Asked], plain: &[Asked]) -> usize {
    let count = |of: &dyn Fn(&Asked, &Asked) -> bool| {
        asked.iter().zip(plain).filter(|(asked, plain)| of(asked, plain)).count()
    };
    let same = count(&|a, b| a.heard.answer == b.heard.answer && a.heard.calls == b.heard.calls);
    let better = count(&|a, b| a.verdict.right && !b.verdict.right);
    let worse = count(&|a, b| !a.verdict.right && b.verdict.right);
    let right = plain.iter().filter(|plain| plain.verdict.right).count();
    println!(
        "With all of it off {right} of {} turns are right. Of the turns asked above {same} are \
         the same word for word, {better} better and {worse} worse.",
        plain.len()
    );
    for (asked, plain) in asked.iter().zip(plain) {
        if asked.verdict.right != plain.verdict.right {
            println!("> {}", asked.turn.question);
            for Asked { heard, verdict, .. } in [asked, plain] {
                let inputs: Vec<&str> = heard.calls.iter().map(|call| &call.input[..]).collect();
                let answer = heard.answer.as_deref().unwrap_or(&heard.end);
                println!(
                    "  {}: {inputs:?} {answer}",
                    if verdict.right { "right" } else { "wrong" }
                );
            }
        }
    }
    worse
}

/// Prints the questions with what is expected.
pub fn list(cases: &[Case]) {
    for case in cases {
        for (index, turn) in case.turns.iter().enumerate() {
            let indent = if index == 0 { "" } else { "    " };
            let Turn { question, category, .. } = turn;
            println!("{indent}{question} => {} [{:?}, {category}]", expected(turn), case.part);
        }
    }
}

fn expected(turn: &Turn) -> String {
    let wants: Vec<String> = turn
        .wants
        .iter()
        .map(|want| match want {
            Want::Values(values) => {
                values.iter().map(f64::to_string).collect::<Vec<_>>().join("; ")
            }
            Want::Found(value) => format!("found {value}"),
            Want::Said(value) => format!("said {value}"),
            Want::Refusal => "error".into(),
            Want::Talk => "none".into(),
        })
        .collect();
    wants.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_are_a_hundred() {
        assert_eq!(percent(9999, 10_000, 1), "99.9");
        assert_eq!(percent(3, 3, 1), "100.0");
        assert_eq!(percent(0, 0, 1), "0.0");
    }
}
