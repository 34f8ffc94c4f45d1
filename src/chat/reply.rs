//! The shape of a reply, how one is written, and where one ends.

/// What a tool accepts as its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputForm {
    /// An arithmetic expression.
    Arithmetic,
    /// Any text.
    Text,
}

/// One action a reply may name, with the form of its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolForm {
    pub name: String,
    pub input: InputForm,
}

/// What a reply may be: one of the tools, or the final answer. An empty list
/// of tools leaves nothing but the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyForm {
    /// What a reply begins with before its fence: the space of a prompt that
    /// ends in a word (`Assistant:`), or nothing.
    pub lead: &'static str,
    pub tools: Vec<ToolForm>,
    /// Starts of lines that the model never writes itself (`Observation:`):
    /// the reply ends before them.
    pub stop_lines: Vec<String>,
}

/// The action that ends a turn.
pub const FINAL_ANSWER: &str = "Final Answer";

/// Opens and closes the block of a reply.
const FENCE: &str = "```";

/// A reply exactly as a model should write it: one fenced block of two lines,
/// no space before it and no line break after it.
pub fn render(action: &str, input: &str) -> String {
    // Writing a string as JSON cannot fail; its Display is that JSON.
    let (action, input) = (serde_json::Value::from(action), serde_json::Value::from(input));
    format!("{FENCE}json\n{{\"action\": {action},\n \"action_input\": {input}}}\n{FENCE}")
}

/// Whether `action` means the final answer, however it is spelled:
/// `final_answer`, `FinalAnswer`, `Final\_Answer`.
pub fn names_final_answer(action: &str) -> bool {
    let letters = action.chars().filter(|c| !matches!(c, ' ' | '_' | '-' | '\\'));
    letters.flat_map(char::to_lowercase).eq("finalanswer".chars())
}

impl ReplyForm {
    /// Where the reply in `text` ends, if it does: the length of what belongs
    /// to it in bytes, and whether it was closed (its first JSON object is
    /// complete and so is its fence) rather than cut before another's line.
    ///
    /// Braces and fences inside the object's strings do not count, nor do
    /// lines. Without an opening fence the object's end is the reply's; a
    /// fence that closes before the object does ends the reply too. Once a
    /// text has an end, every longer one has the same.
    pub fn end(&self, text: &str) -> Option<(usize, bool)> {
        let bytes = text.as_bytes();
        let (mut at, mut depth, mut fenced, mut complete) = (0, 0usize, false, false);
        let mut line_start = true;
        while let Some(&byte) = bytes.get(at) {
            let rest = &bytes[at..];
            if line_start && self.stop_lines.iter().any(|stop| starts_with(rest, stop)) {
                return Some((text[..at].trim_end().len(), false));
            }
            line_start = byte == b'\n' || (line_start && matches!(byte, b' ' | b'\t' | b'\r'));
            match byte {
                b'`' if rest.starts_with(FENCE.as_bytes()) => {
                    at += FENCE.len();
                    if depth > 0 || complete {
                        return Some((at, true));
                    }
                    fenced = !fenced;
                    continue;
                }
                b'{' if depth == 0 && !complete => depth = usize::from(opens_object(rest)?),
                b'{' | b'[' if depth > 0 => depth += 1,
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    complete = depth == 0;
                    if complete && !fenced {
                        return Some((at + 1, true));
                    }
                }
                b'"' | b'\'' if depth > 0 => {
                    at = after_string(bytes, at)?;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// How much of a reply without an end will stay whatever comes, in bytes:
    /// not a last line that may yet turn out to be another's, nor white space
    /// before one.
    pub fn certain(&self, text: &str) -> usize {
        let line = text.rfind('\n').map_or(0, |at| at + 1);
        let begun = text[line..].trim_start();
        let open = self.stop_lines.iter().any(|stop| stop.starts_with(begun));
        text[..if open { line } else { text.len() }].trim_end().len()
    }

    /// Where the answer's own words begin, in bytes, if the reply so far is a
    /// final answer whose `action_input` has been opened.
    pub fn prose_start(&self, text: &str) -> Option<usize> {
        let bytes = text.as_bytes();
        let open = (0..bytes.len())
            .find(|at| bytes[*at] == b'{' && opens_object(&bytes[*at..]) == Some(true))?;
        let (mut at, mut answers) = (open + 1, false);
        loop {
            let key = skip_space(bytes, at);
            let colon = skip_space(bytes, after_quoted(bytes, key)?);
            let value = skip_space(bytes, colon + 1);
            if bytes.get(colon) != Some(&b':') {
                return None;
            }
            let key = text[key..colon].trim_end().trim_matches(['"', '\'']);
            if key == "action_input" {
                return (answers && quote(bytes, value)).then_some(value + 1);
            }
            let after = after_quoted(bytes, value)?;
            answers |= key == "action" && names_final_answer(&text[value + 1..after - 1]);
            let comma = skip_space(bytes, after);
            at = comma + usize::from(bytes.get(comma) == Some(&b','));
        }
    }
}

/// `text` starts with `stop`, which is not empty.
fn starts_with(text: &[u8], stop: &str) -> bool {
    !stop.is_empty() && text.starts_with(stop.as_bytes())
}

fn skip_space(bytes: &[u8], from: usize) -> usize {
    let space = |byte: &&u8| byte.is_ascii_whitespace();
    from + bytes.iter().skip(from).take_while(space).count()
}

fn quote(bytes: &[u8], at: usize) -> bool {
    matches!(bytes.get(at), Some(b'"' | b'\''))
}

/// Whether the `{` at the start opens the reply's object and is not part of
/// its prose: a key follows, or nothing does. None while that is not known.
fn opens_object(bytes: &[u8]) -> Option<bool> {
    let next = &bytes[skip_space(bytes, 1)..];
    let key = matches!(next.first()?, b'"' | b'\'' | b'}' | b'a' | b'A');
    Some(key || next.starts_with("“".as_bytes()))
}

/// The byte after the string that starts at `at`, if one does and it ends.
fn after_quoted(bytes: &[u8], at: usize) -> Option<usize> {
    if quote(bytes, at) { after_string(bytes, at) } else { None }
}

/// The byte after the string whose opening quote is at `open`. None while it
/// is not known. A single quote may also be an apostrophe, so it only ends a
/// string before something that can follow one.
fn after_string(bytes: &[u8], open: usize) -> Option<usize> {
    let mark = bytes[open];
    let mut at = open + 1;
    loop {
        match *bytes.get(at)? {
            b'\\' => at += 2,
            byte if byte == mark => {
                at += 1;
                if mark == b'"' {
                    return Some(at);
                }
                let next = skip_space(bytes, at);
                match bytes.get(next)? {
                    b',' | b':' | b'}' | b']' | b'`' => return Some(at),
                    b'\'' | b'"' if next > at => return Some(at),
                    _ => {}
                }
            }
            _ => at += 1,
        }
    }
}
