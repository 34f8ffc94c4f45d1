//! How far a download is: a line that is rewritten on a terminal, a line for
//! every tenth elsewhere.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::cli::face::sink::{DIM, Sink};
use crate::cli::face::words::bytes as size;
use crate::hub::Event;

/// Between two lines on a terminal.
const PAUSE: Duration = Duration::from_millis(200);
/// What speed is measured over.
const WINDOW: Duration = Duration::from_secs(10);

/// The progress of one file.
pub struct Bar {
    name: String,
    size: u64,
    watched: bool,
    /// When how many bytes were here, within the window.
    marks: VecDeque<(Instant, u64)>,
    /// The last tenth that was told.
    tenth: u64,
    shown: bool,
}

impl Bar {
    pub fn new(path: &str, size: u64) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path).into();
        let watched = io::stderr().is_terminal();
        Self { name, size, watched, marks: VecDeque::new(), tenth: 0, shown: false }
    }

    /// Shows what happens.
    ///
    /// # Errors
    /// Standard error cannot be written to.
    pub fn show(&mut self, event: Event, err: &mut Sink) -> io::Result<()> {
        let said = match event {
            Event::Bytes(have) => return self.bytes(have, Instant::now(), err),
            Event::Waiting => "another process downloads it: waiting for that".into(),
            Event::Again { why, after } => format!("{why}; again in {} s", after.as_secs()),
            Event::Anew { why } => format!("what was here is damaged ({why}): from the start"),
        };
        self.clear(err)?;
        self.marks.clear();
        err.line(DIM, &format!("{}: {said}", self.name))
    }

    fn bytes(&mut self, have: u64, now: Instant, err: &mut Sink) -> io::Result<()> {
        let recent = self.marks.back().is_some_and(|(at, _)| now - *at < PAUSE);
        if !recent {
            self.marks.push_back((now, have));
            while self.marks.front().is_some_and(|(at, _)| now - *at > WINDOW) {
                self.marks.pop_front();
            }
        }
        if !self.watched {
            let tenth = have.saturating_mul(10) / self.size.max(1);
            if tenth > self.tenth {
                self.tenth = tenth;
                return err.line(DIM, &format!("{}: {}", self.name, self.line(have)));
            }
        } else if !recent {
            self.shown = true;
            // The control sequence clears what the line before was longer by.
            return write!(io::stderr(), "\r{}: {}\u{1b}[K", self.name, self.line(have));
        }
        Ok(())
    }

    /// Part, bytes, speed and time left.
    fn line(&self, have: u64) -> String {
        let part = have as f64 * 100.0 / self.size.max(1) as f64;
        let mut line = format!("{part:.0}%, {} of {}", size(have), size(self.size));
        if let (Some(first), Some(last)) = (self.marks.front(), self.marks.back()) {
            let seconds = (last.0 - first.0).as_secs_f64();
            let speed = last.1.saturating_sub(first.1) as f64 / seconds;
            if seconds > 0.0 && speed >= 1.0 {
                let left = self.size.saturating_sub(have) as f64 / speed;
                line += &format!(", {}/s, {} left", size(speed as u64), clock(left as u64));
            }
        }
        line
    }

    /// Takes the line on a terminal away.
    ///
    /// # Errors
    /// Standard error cannot be written to.
    pub fn clear(&mut self, _: &mut Sink) -> io::Result<()> {
        if std::mem::take(&mut self.shown) {
            write!(io::stderr(), "\r\u{1b}[K")?;
        }
        Ok(())
    }
}

/// `0:07`, `12:34`, `1:02:03`.
fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_and_time_left_come_of_the_last_seconds() {
        let mut bar = Bar::new("folder/a.gguf", 100 << 20);
        bar.watched = false;
        let begun = Instant::now();
        assert_eq!(bar.line(0), "0%, 0 B of 100.0 MiB");
        for second in 0..=20u64 {
            // A slow start that no longer counts.
            let have = if second < 5 { 0 } else { (second - 5) * (2 << 20) };
            bar.marks.push_back((begun + Duration::from_secs(second), have));
            while bar.marks.len() > 11 {
                bar.marks.pop_front();
            }
        }
        assert_eq!(bar.line(30 << 20), "30%, 30.0 MiB of 100.0 MiB, 2.0 MiB/s, 0:35 left");
    }

    #[test]
    fn times_read_like_a_clock() {
        assert_eq!([7, 754, 3723].map(clock), ["0:07", "12:34", "1:02:03"]);
    }
}
