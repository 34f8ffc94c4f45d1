//! Test results as a JUnit report: a suite a file, a case a turn.

use std::fmt::Write;
use std::time::Duration;

use super::run::TurnResult;
use crate::cli::face::words;

/// The results of one file.
pub struct Suite {
    /// The file's path.
    pub name: String,
    pub turns: Vec<TurnResult>,
    /// The file could not be read or run.
    pub error: Option<String>,
}

/// The report of a run.
pub fn report(suites: &[Suite]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let total = suites.iter().map(Suite::cases).sum::<usize>();
    let failed = suites.iter().map(Suite::failed).sum::<usize>();
    let errors = suites.iter().filter(|suite| suite.error.is_some()).count();
    let counts = format!("tests=\"{total}\" failures=\"{failed}\" errors=\"{errors}\"");
    // Writing to a string cannot fail.
    let _ = writeln!(xml, "<testsuites name=\"agent test\" {counts}>");
    for suite in suites {
        suite.write(&mut xml);
    }
    xml.push_str("</testsuites>\n");
    xml
}

impl Suite {
    fn cases(&self) -> usize {
        self.turns.len() + usize::from(self.error.is_some())
    }

    fn failed(&self) -> usize {
        self.turns.iter().filter(|turn| !turn.passed()).count()
    }

    fn write(&self, xml: &mut String) {
        let (name, errors) = (escape(&self.name), usize::from(self.error.is_some()));
        let time: Duration = self.turns.iter().map(|turn| turn.time).sum();
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\" errors=\"{errors}\" \
             time=\"{:.3}\">",
            self.cases(),
            self.failed(),
            time.as_secs_f64(),
        );
        for (index, turn) in self.turns.iter().enumerate() {
            let question = escape(&format!("{}. {}", index + 1, turn.question));
            let time = turn.time.as_secs_f64();
            let _ = write!(
                xml,
                "    <testcase classname=\"{name}\" name=\"{question}\" time=\"{time:.3}\""
            );
            if turn.passed() {
                xml.push_str("/>\n");
                continue;
            }
            let lines: Vec<_> =
                turn.failures.iter().map(|(line, why)| format!("line {line}: {why}")).collect();
            let count = words::plural(lines.len(), "failure");
            let text = escape(&lines.join("\n"));
            let _ = writeln!(xml, ">\n      <failure message=\"{count}\">{text}</failure>");
            xml.push_str("    </testcase>\n");
        }
        if let Some(error) = &self.error {
            let _ = writeln!(xml, "    <testcase classname=\"{name}\" name=\"{name}\">");
            let _ = writeln!(xml, "      <error message=\"{}\"/>", escape(error));
            xml.push_str("    </testcase>\n");
        }
        xml.push_str("  </testsuite>\n");
    }
}

/// Text for an attribute or an element. What XML 1.0 cannot hold is replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::conversation::Record;

    #[test]
    fn a_report_counts_and_escapes() {
        let turn = |failures: Vec<(usize, String)>| TurnResult {
            question: "is 1 < 2 & \"so\"?\u{1b}".into(),
            failures,
            record: Record::default(),
            time: Duration::from_millis(1500),
        };
        let turns = vec![turn(vec![]), turn(vec![(4, "no <b>".into()), (5, "no".into())])];
        let suites = [
            Suite { name: "a.txt".into(), turns, error: None },
            Suite { name: "b.txt".into(), turns: vec![], error: Some("line 1: bad".into()) },
        ];
        let xml = report(&suites);
        assert!(
            xml.contains(
                "<testsuites name=\"agent test\" tests=\"3\" failures=\"1\" errors=\"1\">"
            )
        );
        assert!(
            xml.contains("name=\"1. is 1 &lt; 2 &amp; &quot;so&quot;?\u{fffd}\" time=\"1.500\"/>")
        );
        assert!(
            xml.contains("<failure message=\"2 failures\">line 4: no &lt;b&gt;&#10;line 5: no<")
        );
        assert!(xml.contains("<error message=\"line 1: bad\"/>"));
        assert_eq!(xml.matches("<testcase").count(), xml.matches("</testcase>").count() + 1);
    }
}
