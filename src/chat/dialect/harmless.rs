//! Making what others say harmless.

use std::sync::LazyLock;

use regex::Regex;

/// Visibly alters the markers of the dialects in what a person or a tool said,
/// so that plain text cannot pass for a turn: `[INST]` becomes `(INST)`,
/// `<<SYS>>` becomes `((SYS))`, and a line that starts like a turn is quoted
/// with `> `. In Llama-2 these markers are ordinary pieces, so leaving control
/// tokens unparsed is not enough.
pub(super) fn harmless(text: &str) -> String {
    static INST: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)\[(\s*/?\s*INST\s*)\]").expect("a valid pattern"));
    static SYS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(?i)<<(\s*/?\s*SYS\s*)>>").expect("a valid pattern"));
    static LINE: LazyLock<Regex> = LazyLock::new(|| {
        line_start(&["Observation:", "Assistant:", "User:"]).expect("a valid pattern")
    });
    let text = INST.replace_all(text, "($1)");
    let text = SYS.replace_all(&text, "(($1))");
    LINE.replace_all(&text, "$1> $2").into_owned()
}

/// Finds lines that start with one of `openings`, which end in a colon,
/// whatever white space is in them: the separator, then the line's start.
fn line_start(openings: &[&str]) -> Result<Regex, regex::Error> {
    // Any line separator that Unicode knows starts a line here.
    let separators = r"\n\r\x0b\x0c\x{85}\x{2028}\x{2029}";
    let blank = format!(r"[\s--[{separators}]]*");
    let openings: Vec<String> = openings
        .iter()
        .map(|opening| {
            let words: Vec<String> =
                opening.trim_end_matches(':').split_whitespace().map(regex::escape).collect();
            words.join(&blank)
        })
        .collect();
    Regex::new(&format!("(?i)(^|[{separators}])({blank}(?:{}){blank}:)", openings.join("|")))
}

/// The marks of a chat template, which are altered in the same way: what is in
/// angle or square brackets becomes what is in round ones, and a line that
/// starts like one of the template's is quoted.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    brackets: Regex,
    lines: Option<Regex>,
}

impl Marks {
    /// The marks in what a template writes around messages.
    ///
    /// # Errors
    /// More marks than a pattern can hold.
    pub(super) fn new<'a>(frames: impl IntoIterator<Item = &'a str>) -> Result<Self, regex::Error> {
        static BRACKETS: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"<[^<>\s]+>|\[[^\[\]\s]+\]").expect("a valid pattern"));
        // Marks of this shape stand for nothing else in any template.
        let mut brackets = vec![r"<\|[^<>|]*\|>".to_string()];
        let mut lines = Vec::new();
        for frame in frames {
            brackets.extend(BRACKETS.find_iter(frame).map(|mark| regex::escape(mark.as_str())));
            lines.extend(
                frame
                    .lines()
                    .map(str::trim)
                    .filter(|line| line.ends_with(':') && line.chars().any(char::is_alphanumeric)),
            );
        }
        brackets.sort();
        brackets.dedup();
        let lines = if lines.is_empty() { None } else { Some(line_start(&lines)?) };
        Ok(Self { brackets: Regex::new(&format!("(?i){}", brackets.join("|")))?, lines })
    }

    /// `text` without marks of any dialect.
    pub(super) fn harmless(&self, text: &str) -> String {
        let text = self.brackets.replace_all(text, |found: &regex::Captures| {
            let mark = &found[0];
            format!("({})", &mark[1..mark.len() - 1])
        });
        let text = match &self.lines {
            Some(lines) => lines.replace_all(&text, "$1> $2"),
            None => text,
        };
        harmless(&text)
    }
}
