//! How long passes take: prefill, decoding, and several tokens at a time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::meter::Meter;
use super::report::{At, Bandwidth, Cost, Report};
use super::subject::Subject;
use crate::chat::Cancel;
use crate::cli::args::Shared;
use crate::cli::exit::Exit;
use crate::cli::face::sink::{DIM, Sink};
use crate::cli::face::words;
use crate::cli::interrupt::Interrupt;
use crate::cli::machine::{Memory, bandwidth};
use crate::cli::{Failure, device};
use crate::llama::{Choice, Forward, Want};

/// Tokens before what is measured, where nothing else is said: a question's
/// prompt, and nearly all that Llama-2 was made for.
const CONTEXTS: [usize; 2] = [512, 4000];

/// Tokens that are decoded after them, at most.
const DECODED: usize = 32;

/// Room that is left after them: for what is decoded, and for the most columns.
const ROOM: usize = 64;

/// Tokens in a pass: one, and what verifying a guess takes.
const COLUMNS: [usize; 5] = [1, 2, 4, 8, 16];

/// One kind of pass is repeated for this long, but at least so many times and
/// at most so many.
const TIME: Duration = Duration::from_secs(2);
const LEAST: usize = 3;
const MOST: usize = 40;

/// Measures what the command line names.
///
/// # Errors
/// The model cannot be loaded, the context is too small, or the engine fails.
pub fn run(shared: &Shared, subject: &Subject, interrupt: &Interrupt) -> Result<Exit, Failure> {
    let wanted = shared.model.context.map_or(CONTEXTS.to_vec(), |context| vec![context]);
    let largest = wanted.iter().max().map(|context| context + ROOM);
    let mut report = Report::new(shared, subject);
    let begun = Instant::now();
    let (mut engine, device) =
        device::placed(subject.gguf(), shared, largest).map_err(Failure::no_model)?;
    report.loaded(begun.elapsed(), device, &*engine)?;
    let rate = match engine.copy_rate()? {
        Some(rate) => Bandwidth { of: "copied on the device", rate },
        None => Bandwidth { of: "read from memory", rate: bandwidth(Memory::this()) },
    };
    report.bandwidth(rate)?;
    // A smaller model has less room: as much as there is.
    let most = engine.context().saturating_sub(ROOM);
    if most == 0 {
        return Err(Failure::usage(format!("the context has to be more than {ROOM} tokens")));
    }
    let mut contexts: Vec<usize> = wanted.iter().map(|context| *context.min(&most)).collect();
    contexts.dedup();
    let mut bench = Bench {
        engine: &mut *engine,
        meter: Meter::stderr(),
        notes: Sink::stderr(shared.face.color),
    };
    let (done, interrupted) = interrupt.during(|cancel| -> Result<()> {
        for context in contexts {
            bench.at(context, &mut report, cancel)?;
            if cancel.is_set() {
                break;
            }
        }
        Ok(())
    });
    done?;
    report.finish(engine.memory(), interrupted)?;
    Ok(if interrupted { Exit::Interrupted } else { Exit::Answered })
}

struct Bench<'a> {
    engine: &'a mut dyn Forward,
    meter: Meter,
    notes: Sink,
}

impl Bench<'_> {
    /// Everything at one context. What was measured when `cancel` was set is
    /// in the report.
    fn at(&mut self, context: usize, report: &mut Report, cancel: &Cancel) -> Result<()> {
        let before = self.engine.len().min(context);
        self.engine.truncate(before);
        self.note(&format!("processing {before} to {context} tokens, then decoding after them"))?;
        let Some(prefill) = self.prefill(context, cancel)? else { return Ok(()) };
        report.prefill(At { context, tokens: context - before, time: prefill })?;
        let Some((tokens, time)) = self.decode(context, cancel)? else { return Ok(()) };
        report.decode(At { context, tokens, time })?;
        for columns in COLUMNS {
            let Some(time) = self.columns(context, columns, cancel)? else { return Ok(()) };
            report.cost(Cost { columns, time })?;
        }
        self.engine.truncate(context);
        Ok(())
    }

    fn note(&mut self, what: &str) -> Result<()> {
        Ok(self.notes.line(DIM, what)?)
    }

    /// Processes tokens up to a context, in the engine's own pieces.
    fn prefill(&mut self, context: usize, cancel: &Cancel) -> Result<Option<Duration>> {
        let (chunk, begun) = (self.engine.chunk().max(1), Instant::now());
        let first = self.engine.len();
        while self.engine.len() < context {
            let start = self.engine.len();
            let end = ((start / chunk + 1) * chunk).min(context);
            let want = if end == context { Want::Last } else { Want::Nothing };
            let tokens: Vec<u32> = (start..end).map(|at| token(at, self.engine.vocab())).collect();
            if self.engine.forward(&tokens, want, cancel)?.is_none() {
                self.meter.clear();
                return Ok(None);
            }
            let time = begun.elapsed();
            let left = time.mul_f64((context - end) as f64 / (end - first) as f64);
            self.meter.show(&format!("{end} of {context} tokens, {} left", words::seconds(left)));
        }
        let time = begun.elapsed();
        self.meter.clear();
        Ok(Some(time))
    }

    /// Decodes token after token, each the most probable after the one before.
    fn decode(&mut self, context: usize, cancel: &Cancel) -> Result<Option<(usize, Duration)>> {
        let mut next = token(context, self.engine.vocab());
        let penalized = BTreeSet::new();
        let best = Choice { allowed: None, penalized: &penalized, penalty: 1.0, draw: None };
        // The first pass of its kind may prepare what later ones use.
        let Some(_) = self.engine.forward(&[next], Want::Last, cancel)? else { return Ok(None) };
        self.engine.truncate(context);
        let (mut tokens, begun) = (0, Instant::now());
        while tokens < DECODED && (tokens < LEAST || begun.elapsed() < 2 * TIME) {
            let Some(rows) = self.engine.process(&[next], Want::Last, cancel)? else {
                return Ok(None);
            };
            next = self.engine.choose(&rows, 0, &best)?;
            tokens += 1;
        }
        Ok(Some((tokens, begun.elapsed())))
    }

    /// The median time of a pass of several tokens with a row for each.
    fn columns(
        &mut self,
        context: usize,
        columns: usize,
        cancel: &Cancel,
    ) -> Result<Option<Duration>> {
        let vocab = self.engine.vocab();
        let tokens: Vec<u32> = (0..columns).map(|at| token(context + at, vocab)).collect();
        let (mut times, begun) = (Vec::new(), Instant::now());
        while times.len() < MOST && (times.len() < LEAST || begun.elapsed() < TIME) {
            self.engine.truncate(context);
            let pass = Instant::now();
            if self.engine.process(&tokens, Want::All, cancel)?.is_none() {
                return Ok(None);
            }
            times.push(pass.elapsed());
        }
        times.sort();
        Ok(times.get(times.len() / 2).copied())
    }
}

/// The token at a position: any will do, the same every time.
fn token(position: usize, vocab: usize) -> u32 {
    (position * 37 % vocab.max(1)) as u32
}
