//! All that a folder of phrases holds, and how it is read; the format is
//! described in [`super::family`].

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::family::{Answer, Call, Family, Part, Term, ToolText};
use super::template::{Macros, parse, slots};

/// All that a folder of phrases holds.
#[derive(Clone, Debug, Default)]
pub struct Phrases {
    pub macros: Macros,
    pub lists: HashMap<String, Vec<String>>,
    pub terms: Vec<Term>,
    pub before: HashMap<String, Vec<super::template::Pattern>>,
    pub after: Vec<super::template::Pattern>,
    pub tools: Vec<ToolText>,
    pub shares: HashMap<String, f64>,
    pub families: Vec<Family>,
}

impl Phrases {
    /// Reads the `.txt` files of the folders, in order of their names.
    pub fn read(folders: &[&Path]) -> Result<Self> {
        let mut phrases = Self::default();
        for folder in folders {
            let mut files = Vec::new();
            let entries = std::fs::read_dir(folder)
                .with_context(|| format!("cannot list {}", folder.display()))?;
            for entry in entries {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "txt") {
                    files.push(path);
                }
            }
            files.sort();
            for file in files {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                for (index, line) in text.lines().enumerate() {
                    phrases
                        .line(line.trim())
                        .with_context(|| format!("{}:{}", file.display(), index + 1))?;
                }
            }
        }
        phrases.check()?;
        phrases.total();
        Ok(phrases)
    }

    /// Keeps the families that fit.
    pub fn retain(&mut self, fits: impl Fn(&Family) -> bool) {
        self.families.retain(fits);
        self.total();
    }

    /// Works out how often each family is chosen, next to others: its weight
    /// within its category, follow-ups apart, times the category's share,
    /// which is 5 unless told.
    fn total(&mut self) {
        let mut totals: HashMap<(String, bool), f64> = HashMap::new();
        for family in &self.families {
            let key = (family.category().to_string(), family.follows);
            *totals.entry(key).or_default() += family.weight;
        }
        for family in &mut self.families {
            let category = family.category().to_string();
            let share = self.shares.get(&category).copied().unwrap_or(5.0);
            let all = totals.get(&(category, family.follows)).copied().unwrap_or(1.0);
            family.likelihood = share * family.weight / all.max(f64::EPSILON);
        }
    }

    fn line(&mut self, line: &str) -> Result<()> {
        if line.is_empty() || line.starts_with("# ") || line == "#" {
            return Ok(());
        }
        if let Some(name) = line.strip_prefix("## ") {
            let name = name.trim().to_string();
            if self.families.iter().any(|family| family.name == name) {
                bail!("a second family {name}");
            }
            let parts = vec![Part::default()];
            self.families.push(Family { name, weight: 1.0, parts, ..Family::default() });
            return Ok(());
        }
        if let Some((name, pattern)) =
            line.strip_prefix('@').and_then(|rest| rest.split_once(" = "))
        {
            let name = name.trim();
            if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                bail!("a macro's name is letters and digits");
            }
            let pattern = parse(pattern.trim(), &self.macros)?;
            self.macros.insert(name.into(), pattern);
            return Ok(());
        }
        if let Some((name, words)) =
            line.strip_prefix("list ").and_then(|rest| rest.split_once(':'))
        {
            let words = words.split(',').map(|word| word.trim().to_string());
            self.lists
                .entry(name.trim().into())
                .or_default()
                .extend(words.filter(|w| !w.is_empty()));
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("term:") {
            let (surface, call) = rest.split_once("=>").context("a term is SURFACE => CALL")?;
            let surface = parse(surface.trim(), &self.macros)?;
            self.terms.push(Term { surface, call: parse(call.trim(), &self.macros)? });
            return Ok(());
        }
        if let Some((kind, pattern)) =
            line.strip_prefix("before ").and_then(|rest| rest.split_once(':'))
        {
            let pattern = parse(pattern.trim(), &self.macros)?;
            self.before.entry(kind.trim().into()).or_default().push(pattern);
            return Ok(());
        }
        if let Some(pattern) = line.strip_prefix("after:") {
            self.after.push(parse(pattern.trim(), &self.macros)?);
            return Ok(());
        }
        if let Some((name, share)) =
            line.strip_prefix("share ").and_then(|rest| rest.split_once(':'))
        {
            let share = share.trim().parse().context("a share is a number")?;
            self.shares.insert(name.trim().into(), share);
            return Ok(());
        }
        if let Some((name, usages)) =
            line.strip_prefix("tool ").and_then(|rest| rest.split_once(':'))
        {
            let usages = parse(usages.trim(), &self.macros)?;
            self.tools.push(ToolText { name: name.trim().into(), usages });
            return Ok(());
        }
        self.family_line(line)
    }

    fn family_line(&mut self, line: &str) -> Result<()> {
        let macros = &self.macros;
        let family = self.families.last_mut().context("a line before the first family")?;
        let part = family.parts.last_mut().context("a family without a part")?;
        match line {
            "follows" => family.follows = true,
            "first" => family.first = true,
            "bare" => family.bare = true,
            "story" => family.story = true,
            "many" => family.many = true,
            "then:" => family.parts.push(Part::default()),
            _ => {
                let (key, rest) = match line.split_once(':') {
                    Some((key, rest)) if !key.contains(" = ") => (key.trim(), rest.trim()),
                    _ => ("", line),
                };
                match key {
                    "ask" => part.asks.push(parse(rest, macros)?),
                    "answer" => {
                        part.answers.push(Answer { need: None, pattern: parse(rest, macros)? });
                    }
                    _ if key.starts_with("answer if ") => {
                        let need = Some(key["answer if ".len()..].trim().to_string());
                        part.answers.push(Answer { need, pattern: parse(rest, macros)? });
                    }
                    "weight" => family.weight = rest.parse().context("a weight is a number")?,
                    "need" => family.needs.push(rest.into()),
                    _ if key == "call" || key == "call!" => part.calls.push(Call {
                        tool: "Calculator".into(),
                        input: parse(rest, macros)?,
                        says: None,
                        fails: key == "call!",
                    }),
                    _ if key.starts_with("call ") => {
                        let (input, says) =
                            rest.split_once("=>").context("a made-up call is INPUT => OUTPUT")?;
                        part.calls.push(Call {
                            tool: key["call ".len()..].trim().into(),
                            input: parse(input.trim(), macros)?,
                            says: Some(parse(says.trim(), macros)?),
                            fails: false,
                        });
                    }
                    _ if key.starts_with("again ") => {
                        let slot = key["again ".len()..].trim().to_string();
                        family.again.push((slot, parse(rest, macros)?));
                    }
                    _ => {
                        let (names, kind) = line
                            .split_once(" = ")
                            .with_context(|| format!("what is \"{line}\"?"))?;
                        for name in names.split_whitespace() {
                            family.slots.push((name.into(), kind.trim().into()));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        for family in &mut self.families {
            let calls = family.parts.iter().flat_map(|part| &part.calls);
            family.before = calls.flat_map(|call| slots(&call.input)).any(|slot| slot == "before");
            for part in &family.parts {
                if part.asks.is_empty() || part.answers.is_empty() {
                    bail!("{} has a turn without ask or answer", family.name);
                }
            }
        }
        Ok(())
    }
}
