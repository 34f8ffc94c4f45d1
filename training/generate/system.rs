//! System messages: the shipped one, and others like it, so that the model
//! reads the tools and the examples it is given instead of knowing them.

use anyhow::Result;

use super::conversation::conversation;
use super::phrases::Phrases;
use super::rng::Rng;
use super::slot::Slots;
use super::tools::Listed;
use super::turn::Turn;
use super::wording::ask;
use llama_agent::tool::Tool;
use llama_agent::tool::calculator::Calculator;

/// What a conversation is held under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// A template in place of the shipped `system.jinja`.
    pub template: Option<String>,
    pub tools: Vec<Listed>,
}

impl System {
    /// As the program ships.
    pub fn shipped() -> Self {
        Self { template: None, tools: vec![calculator()] }
    }
}

fn calculator() -> Listed {
    Listed { name: Calculator.name().into(), usage: Calculator.usage().into() }
}

/// Another wording, other examples and, most of the time, other tools beside
/// the Calculator.
///
/// # Errors
/// A phrase that cannot be filled in.
pub fn varied(phrases: &Phrases, rng: &mut Rng) -> Result<System> {
    let mut tools = vec![calculator()];
    if rng.chance(0.75) && !phrases.tools.is_empty() {
        for _ in 0..rng.range(1, 3) {
            let tool = rng.pick(&phrases.tools);
            if tools.iter().all(|listed| listed.name != tool.name) {
                let usage = super::noise::plain(&ask(&tool.usages, &Slots::new(), rng)?);
                tools.insert(rng.below(tools.len() + 1), Listed { name: tool.name.clone(), usage });
            }
        }
    }
    let template = if rng.chance(0.15) { None } else { Some(template(phrases, &tools, rng)?) };
    Ok(System { template, tools })
}

fn template(phrases: &Phrases, tools: &[Listed], rng: &mut Rng) -> Result<String> {
    let say = |name: &str, rng: &mut Rng| -> Result<String> {
        match phrases.macros.get(name) {
            Some(pattern) => Ok(super::noise::plain(&ask(pattern, &Slots::new(), rng)?)),
            None => anyhow::bail!("the macro @{name} is missing"),
        }
    };
    let list = rng.word(&[
        "{% for tool in tools %}- {{ tool.name }}: {{ tool.usage }}\n{% endfor %}",
        "{% for tool in tools %}* {{ tool.name }} - {{ tool.usage }}\n{% endfor %}",
        "{% for tool in tools %}{{ loop.index }}. {{ tool.name }}: {{ tool.usage }}\n{% endfor %}",
        "{% for tool in tools %}{{ tool.name }} ({{ tool.usage }})\n{% endfor %}",
        "{% for tool in tools %}\"{{ tool.name }}\": {{ tool.usage }}.\n{% endfor %}",
    ]);
    let mut text = format!("{} {}\n\n", say("role", rng)?, say("contract", rng)?);
    text.push_str(&format!("{}\n{list}\n", say("tools_follow", rng)?));
    text.push_str(&format!("{}\n\n", say("finish", rng)?));
    let examples = rng.range(0, 6) as usize;
    if examples > 0 {
        text.push_str(&say("examples_follow", rng)?);
        text.push_str("\n\n");
        let mut shown = 0;
        while shown < examples {
            for turn in conversation(phrases, tools, rng)?.turns.iter().take(1) {
                text.push_str(&on_paper(turn));
                shown += 1;
            }
        }
    }
    Ok(text)
}

/// A worked exchange.
fn on_paper(turn: &Turn) -> String {
    let mut text = format!("User: {}\n", turn.question);
    let mut replies = turn.replies().into_iter();
    for (call, reply) in turn.calls.iter().zip(&mut replies) {
        text.push_str(&format!("Assistant:{reply}\nObservation: {}\n", call.observation));
    }
    for reply in replies {
        text.push_str(&format!("Assistant:{reply}\n"));
    }
    // Braces of a template in what was typed would be read as one.
    text.replace("{{", "{ {").replace("{%", "{ %").replace("{#", "{ #") + "\n"
}
