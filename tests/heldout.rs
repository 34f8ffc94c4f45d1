//! No held-out phrasing is in training: every sentence that a held-out family
//! can make, with its numbers masked and with or without what training puts
//! around a question, is one that no training family can make.

use std::path::Path;

use regex::{Regex, RegexSet, RegexSetBuilder};

use generate::family::Family;
use generate::phrases::Phrases;
use generate::template::{Macros, Node, Pattern, expansions, parse, skeleton, skeleton_regex};

#[path = "../training/generate"]
#[allow(dead_code, reason = "only the families are read here")]
mod generate {
    pub mod family;
    pub mod phrases;
    pub mod template;
}

/// Families of training and, apart, those of the held-out folder.
fn read() -> (Phrases, Vec<Family>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("training");
    let training = Phrases::read(&[&folder.join("phrases")]).unwrap();
    // Read after training, so that a name that both use is an error.
    let both = Phrases::read(&[&folder.join("phrases"), &folder.join("heldout")]).unwrap();
    let heldout = both.families[training.families.len()..].to_vec();
    (training, heldout)
}

/// A slot that is filled with phrases becomes those phrases. Of training,
/// whose phrases are given, so does one that is filled with words, and the
/// mask stays beside them.
fn opened(pattern: &Pattern, family: &Family, training: Option<&Phrases>) -> Pattern {
    let open = |node: &Node| match node {
        Node::Text(_) => node.clone(),
        Node::Choice(options) => {
            Node::Choice(options.iter().map(|option| opened(option, family, training)).collect())
        }
        Node::Slot { name, .. } => {
            let kind = family.slots.iter().find(|(slot, _)| slot == name).map(|(_, kind)| kind);
            let kind = kind.and_then(|kind| kind.split_once(' '));
            let mut options: Vec<Pattern> = match (kind, training) {
                (Some(("map", map)), _) => {
                    phrases(map).iter().map(|text| parse(text, &Macros::new()).unwrap()).collect()
                }
                (Some(("word", list)), Some(training)) => {
                    let words = training.lists[list.trim()].iter();
                    words.map(|word| vec![Node::Text(word.clone())]).collect()
                }
                _ => return node.clone(),
            };
            if training.is_some() {
                options.push(vec![node.clone()]);
            }
            Node::Choice(options)
        }
    };
    pattern.iter().map(open).collect()
}

/// `a => x | {b|c} => y` names the phrases `a` and `{b|c}`. Macros in them
/// are left as a mask.
fn phrases(map: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in map.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            '|' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    let macro_name = Regex::new(r"@\w+").unwrap();
    let phrase = |part: &String| part.split("=>").next().unwrap().trim().to_string();
    parts.iter().map(|part| macro_name.replace_all(&phrase(part), "<x>").into_owned()).collect()
}

/// Everything that training can ask.
struct Training {
    asks: Vec<(String, RegexSet)>,
    before: Vec<Regex>,
    after: Vec<Regex>,
    /// What may stand where a number does.
    terms: Vec<Regex>,
}

impl Training {
    fn new(phrases: &Phrases) -> Self {
        let whole = |regex: String| format!("^(?:{regex})$");
        let one = |pattern: &Pattern| Regex::new(&whole(skeleton_regex(pattern))).unwrap();
        let asks = phrases.families.iter().map(|family| {
            let again = family.again.iter().map(|(_, pattern)| pattern);
            let patterns = family.parts.iter().flat_map(|part| &part.asks).chain(again);
            let regexes =
                patterns.map(|ask| whole(skeleton_regex(&opened(ask, family, Some(phrases)))));
            let set = RegexSetBuilder::new(regexes).size_limit(1 << 28).build().unwrap();
            (family.name.clone(), set)
        });
        Self {
            asks: asks.collect(),
            before: phrases.before.values().flatten().map(one).collect(),
            after: phrases.after.iter().map(one).collect(),
            terms: phrases
                .terms
                .iter()
                .map(|term| Regex::new(&skeleton_regex(&term.surface)).unwrap())
                .chain([Regex::new(r"#(?:[+*/=^%]*#)+").unwrap()])
                .collect(),
        }
    }

    /// The sentence, and what it is with worded values and formulas, one or
    /// one in another, as a number.
    fn masked(&self, sentence: &str) -> Vec<String> {
        let mut all = vec![sentence.to_string()];
        for _ in 0..2 {
            for at in 0..all.len() {
                for term in &self.terms {
                    let shorter = term.replace_all(&all[at], "#").into_owned();
                    if !all.contains(&shorter) {
                        all.push(shorter);
                    }
                }
            }
        }
        all
    }

    /// The family that can make the sentence, if one can.
    fn makes(&self, sentence: &str) -> Option<&str> {
        let whole = skeleton(sentence);
        let starts = whole.char_indices().map(|(at, _)| at);
        let starts = starts.filter(|at| *at == 0 || any(&self.before, &whole[..*at]));
        let cores = starts.flat_map(|start| {
            let rest = &whole[start..];
            let ends = rest.char_indices().map(|(at, _)| at).skip(1).chain([rest.len()]);
            let ends = ends.filter(|at| *at == rest.len() || any(&self.after, &rest[*at..]));
            ends.map(|end| &rest[..end]).collect::<Vec<_>>()
        });
        cores
            .flat_map(|core| self.masked(core))
            .find_map(|core| self.asks.iter().find(|(_, set)| set.is_match(&core)))
            .map(|(name, _)| name.as_str())
    }
}

fn any(regexes: &[Regex], text: &str) -> bool {
    regexes.iter().any(|regex| regex.is_match(text))
}

#[test]
fn no_heldout_phrasing_is_in_training() {
    let (phrases, heldout) = read();
    assert!(heldout.len() >= 60, "{} families", heldout.len());
    let training = Training::new(&phrases);
    let mut found = Vec::new();
    for family in &heldout {
        for ask in family.parts.iter().flat_map(|part| &part.asks) {
            for sentence in expansions(&opened(ask, family, None)) {
                if let Some(by) = training.makes(&sentence) {
                    found.push(format!("{}: \"{sentence}\" is in {by}", family.name));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} sentences:\n{}", found.len(), found.join("\n"));
}

/// The search finds what is there: what training itself can ask, with its own
/// words around it.
#[test]
fn training_phrasings_are_found() {
    let (phrases, _) = read();
    let training = Training::new(&phrases);
    let first = |pattern: &Pattern| -> String {
        let mut pattern = pattern.clone();
        while let Some(at) = pattern.iter().position(|node| matches!(node, Node::Choice(_))) {
            let Node::Choice(options) = pattern.remove(at) else { continue };
            pattern.splice(at..at, options[0].clone());
        }
        expansions(&pattern).remove(0)
    };
    let before = phrases.before.values().flatten().next().map(first).unwrap_or_default();
    let after = phrases.after.first().map(first).unwrap_or_default();
    for family in &phrases.families {
        for ask in family.parts.iter().flat_map(|part| &part.asks) {
            let sentence = first(ask);
            if skeleton(&sentence).is_empty() {
                continue;
            }
            assert!(training.makes(&sentence).is_some(), "{}: {sentence}", family.name);
            let polite = format!("{before} {sentence}{after}");
            assert!(training.makes(&polite).is_some(), "{}: {polite}", family.name);
        }
    }
}

/// Questions written by hand may well be ones that training asks too, with
/// other numbers: a new user does not know what it holds. How many is told
/// with `--nocapture`; one in ten at least must be new.
#[test]
fn many_questions_written_by_hand_are_not_in_training() {
    let (phrases, _) = read();
    let training = Training::new(&phrases);
    let numbers = Regex::new(
        r"(?x) [$€£]? \d[\d,]*(\.\d+)? (\s?(%|percent|euros?|dollars?))?
        | \b((zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(thir|four|fif|six
        |seven|eigh|nine)teen|(twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million
        |dozen|minus|negative)[\s-]*)+\b",
    )
    .unwrap();
    let text = include_str!("../training/evaluate/questions.txt");
    let (mut all, mut known) = (0, 0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((question, _)) = line.rsplit_once(" => ") else { continue };
        let question = question.trim().to_lowercase();
        let masked = numbers.replace_all(&question, "# ");
        all += 1;
        // What is nothing but a formula has no phrasing.
        if skeleton(&masked).chars().any(char::is_alphabetic) && training.makes(&masked).is_some() {
            known += 1;
        }
    }
    println!("{known} of {all} questions written by hand have a phrasing of training");
    assert!(all >= 400 && 10 * known < 9 * all, "{known} of {all}");
}
