//! Where text goes: a stream that knows whether it may use colour and
//! whether a terminal would act on control characters.

use std::io::{self, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use clap::builder::styling::{AnsiColor, Style};

use crate::cli::args::Color;

/// For what is less important than the answer.
pub const DIM: Style = Style::new().dimmed();
/// For what went wrong.
pub const WRONG: Style = AnsiColor::Red.on_default();
/// For what went well.
pub const RIGHT: Style = AnsiColor::Green.on_default();
/// For what stands out.
pub const STRONG: Style = Style::new().bold();

/// A stream of text.
pub struct Sink {
    to: Box<dyn Write>,
    colour: bool,
    terminal: bool,
}

impl Sink {
    /// Standard output.
    pub fn stdout(color: Color) -> Self {
        let to = io::stdout();
        let auto = AutoStream::choice(&to);
        Self { terminal: to.is_terminal(), colour: colour(color, auto), to: Box::new(to) }
    }

    /// Standard error.
    pub fn stderr(color: Color) -> Self {
        let to = io::stderr();
        let auto = AutoStream::choice(&to);
        Self { terminal: to.is_terminal(), colour: colour(color, auto), to: Box::new(to) }
    }

    /// Any other writer, in colour or not.
    pub fn to(to: impl Write + 'static, colour: bool) -> Self {
        Self { to: Box::new(to), colour, terminal: false }
    }

    /// A person watches.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Writes text as it is; a terminal gets its control characters in a
    /// visible form, since models and people may write any.
    ///
    /// # Errors
    /// The stream's own.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        match self.terminal || self.colour {
            true => self.to.write_all(visible(text).as_bytes())?,
            false => self.to.write_all(text.as_bytes())?,
        }
        self.to.flush()
    }

    /// Writes text in a style where colour is on.
    ///
    /// # Errors
    /// The stream's own.
    pub fn styled(&mut self, style: Style, text: &str) -> io::Result<()> {
        match self.colour {
            true => write!(self.to, "{style}{}{style:#}", visible(text))?,
            false => return self.text(text),
        }
        self.to.flush()
    }

    /// A styled line.
    ///
    /// # Errors
    /// The stream's own.
    pub fn line(&mut self, style: Style, text: &str) -> io::Result<()> {
        self.styled(style, text)?;
        self.text("\n")
    }
}

fn colour(wanted: Color, auto: ColorChoice) -> bool {
    match wanted {
        Color::Auto => auto != ColorChoice::Never,
        Color::Always => true,
        Color::Never => false,
    }
}

/// The text with every control character but newline and tab escaped.
fn visible(text: &str) -> String {
    let escape = |c: char| c.is_control() && c != '\n' && c != '\t';
    match text.contains(escape) {
        false => text.into(),
        true => text
            .chars()
            .map(|c| if escape(c) { c.escape_default().to_string() } else { c.to_string() })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible_and_text_stays() {
        assert_eq!(visible("a\tb\n≈ 2"), "a\tb\n≈ 2");
        assert_eq!(visible("\u{1b}[2J\r\u{7}"), "\\u{1b}[2J\\r\\u{7}");
    }
}
