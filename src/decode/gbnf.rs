//! The grammar of replies for engines that are not ours, in GBNF: the notation
//! of llama.cpp (its `grammars/README.md`), which XGrammar reads too.
//!
//! It is the same grammar, written over: what `grammar::lark` says is read sign
//! by sign. Regular expressions become rules, and the one kind of left
//! recursion there is becomes a repetition, since llama.cpp knows none. GBNF
//! cannot say "any name but these": functions that the calculator does not know
//! cannot be written there.

use std::fmt::Write;

use super::grammar;
use crate::chat::ReplyForm;

/// The grammar of a reply that calls one of the form's tools or is the final
/// answer.
pub fn gbnf(form: &ReplyForm) -> String {
    let lark = grammar::lark(form).replace("(MANY | UNKNOWN)", "MANY");
    let rules = lark.lines().filter_map(|line| line.split_once(": "));
    let rules = rules.filter(|(name, _)| *name != "UNKNOWN");
    let mut text = String::new();
    for (name, body) in rules {
        let body = match body.split_once(&format!(" | {name} ")) {
            Some((first, rest)) => format!("{} ({})*", rewrite(first), rewrite(rest)),
            None => rewrite(body),
        };
        let _ = writeln!(text, "{} ::= {body}", rule(name));
    }
    text
}

/// A rule's name: no underscores, and `root` is where a reply starts.
fn rule(name: &str) -> String {
    if name == "start" { "root".into() } else { name.replace('_', "-") }
}

/// The right-hand side of a rule.
fn rewrite(body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '/' => {
                let length = quoted(rest, first);
                let inside = &rest[first.len_utf8()..length - 1];
                match first {
                    '/' => out.push_str(&format!("({})", regex(inside))),
                    // The grammar's literals are JSON strings.
                    _ => literal(
                        &serde_json::from_str::<String>(&rest[..length]).unwrap_or_default(),
                        &mut out,
                    ),
                }
                length
            }
            _ if first.is_alphanumeric() => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
                let end = end.unwrap_or(rest.len());
                out.push_str(&rule(&rest[..end]));
                end
            }
            _ => {
                out.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    out
}

/// The length of what starts with `mark` and ends with it, marks included.
fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A regular expression as a rule. Repetitions, groups and alternatives are
/// written the same way in both.
fn regex(pattern: &str) -> String {
    let mut out = String::new();
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        match sign {
            '[' => class(&mut signs, &mut out),
            '{' => {
                out.push('{');
                out.extend(signs.by_ref().take_while(|sign| *sign != '}'));
                out.push('}');
            }
            '(' | ')' | '|' | '*' | '?' | '+' => out.push(sign),
            '\\' => {
                literal(signs.next().map(String::from).as_deref().unwrap_or_default(), &mut out)
            }
            _ => literal(sign.encode_utf8(&mut [0; 4]), &mut out),
        }
        out.push(' ');
    }
    // A repetition follows what it repeats without a space.
    for sign in ["{", "*", "?", "+"] {
        for before in ["]", ")", "\""] {
            out = out.replace(&format!("{before} {sign}"), &format!("{before}{sign}"));
        }
    }
    out.trim_end().into()
}

/// A class of characters, up to its closing bracket.
fn class(signs: &mut std::str::Chars, out: &mut String) {
    out.push('[');
    while let Some(sign) = signs.next() {
        match sign {
            ']' => break,
            '\\' => match signs.next() {
                // A character by its number.
                Some('x') => out.push_str("\\x"),
                // By number too, whatever it would mean by itself.
                Some(sign) => {
                    let _ = write!(out, "\\x{:02X}", u32::from(sign));
                }
                None => {}
            },
            '"' => out.push_str("\\x22"),
            _ => out.push(sign),
        }
    }
    out.push(']');
}

/// A string that stands for itself.
fn literal(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' => out.push_str("\\n"),
            _ if u32::from(c) < 0x20 || c == '\x7f' => {
                let _ = write!(out, "\\x{:02X}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{InputForm, ToolForm};

    #[test]
    fn the_grammar_is_written_over_sign_by_sign() {
        let form = |lead, name: &str, input| {
            let tools = vec![ToolForm { name: name.into(), input }];
            ReplyForm { lead, tools, stop_lines: Vec::new() }
        };
        let text = gbnf(&form(" ", "Calculator", InputForm::Arithmetic));
        for rule in [
            "root ::= \" ```json\\n{\\\"action\\\": \\\"\" reply \"\\\"}\\n```\"\n",
            "TEXT ::= (( [^\\x22\\x5C\\x00-\\x1f\\x7f] | \"\\\\\" [\\x22\\x5C\\x2Fbfnrt] )*)\n",
            "e8 ::= u8 (operator u8)*\n",
            "ONE-OR-TWO ::= ",
            "constant ::= \"pi\" | \"π\" | \"e\"\n",
        ] {
            assert!(text.contains(rule), "{rule} in {text}");
        }
        let names = text.lines().filter_map(|line| line.split_once(" ::= "));
        assert!(names.clone().count() > 30 && !text.contains("UNKNOWN"), "{text}");
        assert!(names.clone().all(|(name, _)| !name.contains('_') && name != "start"), "{text}");
        let quiet = gbnf(&form("", "Say \"so\"\u{1}", InputForm::Text));
        assert!(quiet.starts_with("root ::= \"```json\\n"), "{quiet}");
        assert!(quiet.contains(r#""Say \\\"so\\\"\\u0001\","#), "{quiet}");
        assert!(!quiet.contains("NUMBER"), "{quiet}");
    }
}
