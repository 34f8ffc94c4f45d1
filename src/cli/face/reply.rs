//! The words of an answer, read from a reply that is still being written.

use std::borrow::Cow;

use crate::chat::ReplyForm;

/// What can be shown of the answer in the beginning of a reply, or nothing if
/// the reply is no final answer or not that far yet. For a longer beginning
/// of the same reply the text is the same or longer. Whitespace at the end is
/// held back: it belongs to the answer only if more follows.
///
/// An answer whose form is not quite JSON appears when it is complete.
pub fn answer_so_far(reply: &str) -> Option<String> {
    let start = ReplyForm::default().prose_start(reply)?;
    if !reply[..start].ends_with('"') {
        return None;
    }
    Some(string(reply.get(start..)?)?.trim().to_string())
}

/// The text of the JSON string that `text` goes on with, as far as it is there
/// without a broken escape.
fn string(text: &str) -> Option<Cow<'_, str>> {
    let (mut length, mut whole) = (0, 0);
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(length) {
        match byte {
            b'"' => break,
            b'\\' => match escape(&bytes[length..]) {
                Some(taken) => length += taken,
                None => break,
            },
            _ => length += 1,
        }
        whole = length;
    }
    decode(text.get(..whole)?)
}

/// Bytes of the escape that `bytes` starts with, both halves of a surrogate
/// pair together; nothing if it is not complete.
fn escape(bytes: &[u8]) -> Option<usize> {
    if *bytes.get(1)? != b'u' {
        return Some(2);
    }
    let digits = std::str::from_utf8(bytes.get(2..6)?).ok()?;
    let high = u16::from_str_radix(digits, 16).is_ok_and(|unit| (0xd800..0xdc00).contains(&unit));
    (!high || bytes.len() >= 12).then_some(if high { 12 } else { 6 })
}

/// A JSON string's text; a raw newline in it stands for itself.
fn decode(inside: &str) -> Option<Cow<'_, str>> {
    if !inside.contains(['\\', '\n', '\t']) {
        return Some(Cow::Borrowed(inside));
    }
    let quoted = format!("\"{}\"", inside.replace('\n', "\\n").replace('\t', "\\t"));
    serde_json::from_str(&quoted).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every beginning of a reply shows a beginning of its answer.
    fn grows_to(reply: &str, answer: &str) {
        let mut shown = String::new();
        for (end, _) in reply.char_indices().chain([(reply.len(), ' ')]) {
            if let Some(now) = answer_so_far(&reply[..end]) {
                assert!(now.starts_with(&shown), "{shown:?} then {now:?}");
                shown = now;
            }
        }
        assert_eq!(shown, answer);
    }

    #[test]
    fn an_answer_grows_by_whole_characters() {
        for (input, answer) in [
            ("It is 18.37917367995256!", "It is 18.37917367995256!"),
            ("a \\\"b\\\" \\\\ c\\n\\nd  ", "a \"b\" \\ c\n\nd"),
            ("caf\\u00e9 \\ud83d\\ude00 ≈ 2", "café 😀 ≈ 2"),
            ("raw\nnewline, {\\\"a\\\": 1} and ```", "raw\nnewline, {\"a\": 1} and ```"),
            ("", ""),
        ] {
            let head = "```json\n{\"action\": \"Final Answer\",\n \"action_input\": \"";
            grows_to(&format!("{head}{input}\"}}\n```"), answer);
        }
    }

    #[test]
    fn nothing_but_a_final_answer_is_shown() {
        for reply in [
            "",
            "hello",
            "{\"action\": \"Calculator\", \"action_input\": \"Final Answer\"}",
            "{\"action\": \"Final Answer\"",
            "{\"action_input\": \"4\", \"action\": \"Final Answer\"}",
            "{\"action\": \"Final Answer\", \"action_input\": '4'}",
            "{\"action\": \"Final Answer\", \"action_input\": 4}",
        ] {
            assert_eq!(answer_so_far(reply), None, "{reply}");
        }
    }

    #[test]
    fn a_broken_escape_shows_nothing_more() {
        let reply = "{\"action\": \"Final Answer\", \"action_input\": \"ok \\q then";
        assert_eq!(answer_so_far(reply), None);
    }

    proptest::proptest! {
        #[test]
        fn any_answer_streams_to_itself(answer in "\\PC{0,40}") {
            let inside = serde_json::to_string(&answer).expect("a string");
            let reply = format!("{{\"action\": \"final answer\", \"action_input\": {inside}}}");
            grows_to(&reply, answer.trim());
        }

        #[test]
        fn any_text_is_read_without_a_crash(text in ".{0,80}") {
            answer_so_far(&text);
            answer_so_far(&format!("{{\"action\": \"Final Answer\", \"action_input\": \"{text}"));
        }
    }
}
