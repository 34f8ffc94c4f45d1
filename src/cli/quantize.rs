//! `agent quantize`: a Hugging Face folder to one GGUF file.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use super::args::Shared;
use super::exit::Exit;
use super::face::sink::{DIM, Sink, WRONG};
use super::face::words;
use super::machine::free_disk;
use super::pull::Pull;
use super::source::Source;
use super::{Failure, disk};
use crate::chat::Cancel;
use crate::llama::convert::{Conversion, ConvertError, Progress, Report, Target};

/// What `agent quantize` is told.
#[derive(Clone, Debug, Args)]
pub struct QuantizeArgs {
    /// A folder with config.json, safetensors (bf16, f16, f32, or bitsandbytes
    /// NF4 and FP4) and a tokenizer; or a repository of the hub that has them.
    #[arg(value_name = "FOLDER|OWNER/REPO")]
    source: PathBuf,
    /// How weights are kept.
    #[arg(long, value_enum, default_value_t = Format::Q4K)]
    to: Format,
    /// The file to write; it must not be there yet.
    #[arg(short, long, value_name = "FILE.gguf")]
    output: PathBuf,
    /// Afterwards remove the weights that were downloaded for it.
    #[arg(long)]
    remove_source: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// 4.5 bits a weight, the quickest to compute with.
    #[value(name = "q4_0")]
    Q4_0,
    /// 4.5 bits a weight, nearer to the original.
    #[value(name = "q4_k")]
    Q4K,
    /// 6.6 bits a weight.
    #[value(name = "q6_k")]
    Q6K,
    /// 8.5 bits a weight, hardly any loss.
    #[value(name = "q8_0")]
    Q8_0,
}

impl From<Format> for Target {
    fn from(format: Format) -> Self {
        match format {
            Format::Q4_0 => Self::Q4_0,
            Format::Q4K => Self::Q4K,
            Format::Q6K => Self::Q6K,
            Format::Q8_0 => Self::Q8_0,
        }
    }
}

/// Between two reports of progress.
const PAUSE: Duration = Duration::from_millis(200);

/// Writes the file.
///
/// # Errors
/// The folder is not one of a Llama, the file cannot be written, or what is to
/// be removed afterwards was not downloaded.
pub fn run(shared: &Shared, args: &QuantizeArgs) -> Result<Exit, Failure> {
    let source = Source::parse(&args.source).map_err(Failure::no_model)?;
    let written = match &source {
        Source::Hub(spec) => {
            let mut pull = Pull::new(shared, args.remove_source).map_err(Failure::no_model)?;
            let half = pull.weights(spec, args.to).map_err(Failure::no_model)?;
            write(shared, &half.folder, args.to, &args.output)
                .and_then(|()| pull.done_with(&spec.repo, &half.weights))
        }
        _ if args.remove_source => {
            return Err(Failure::usage(format!(
                "--remove-source removes what was downloaded, and {} is no repository of the hub",
                args.source.display()
            )));
        }
        _ => write(shared, &args.source, args.to, &args.output),
    };
    match written {
        Ok(()) => Ok(Exit::Answered),
        Err(error) if matches!(error.downcast_ref(), Some(ConvertError::Cancelled)) => {
            Err(Failure { exit: Exit::Interrupted, error })
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes the file, if the disk has room for it, with a report. Ctrl-C, however
/// often, leaves none behind.
///
/// # Errors
/// The folder is not one of a Llama, the file cannot be written, or Ctrl-C was
/// pressed.
pub fn write(shared: &Shared, folder: &Path, to: Format, output: &Path) -> Result<()> {
    let mut out = Sink::stderr(shared.face.color);
    let conversion = Conversion::plan(folder, to.into())?;
    room(&mut out, output, conversion.bytes())?;
    let cancel = Cancel::new();
    let asked = cancel.clone();
    ctrlc::set_handler(move || asked.ask())?;
    let mut meter = Meter::start();
    let result = conversion.write(output, &cancel, &mut |progress| meter.show(progress));
    meter.clear();
    let report = result?;
    for notice in &report.notices {
        out.line(WRONG, &format!("note: {notice}"))?;
    }
    let time = meter.begun.elapsed().as_secs_f64();
    out.line(DIM, &format!("{}, in {time:.1} s: {}", summary(&report), output.display()))?;
    Ok(())
}

/// Says how large the file will be, and what is free where it goes.
///
/// # Errors
/// That is less.
fn room(out: &mut Sink, output: &Path, needed: u64) -> Result<()> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    out.line(DIM, &format!("{}: {}", output.display(), words::bytes(needed)))?;
    let free = free_disk(folder).ok();
    if let Some(free) = free {
        out.line(DIM, &format!("disk: {} free in {}", words::bytes(free), folder.display()))?;
    }
    match disk::short(folder, free, needed) {
        Some(why) => bail!("{why} quantize to a file on a larger disk: agent quantize … -o FILE"),
        None => Ok(()),
    }
}

/// The format of a name.
///
/// # Errors
/// There is no such format.
pub fn format(name: &str) -> Result<Format> {
    Format::from_str(name, true).map_err(|_| {
        anyhow::anyhow!("a model is quantized here to q4_0, q4_k, q6_k or q8_0, not to {name}")
    })
}

/// Bits that a weight takes in a format: its blocks' bytes over their weights.
pub fn bits(format: Format) -> f64 {
    match format {
        Format::Q4_0 | Format::Q4K => 4.5,
        Format::Q6K => 6.5625,
        Format::Q8_0 => 8.5,
    }
}

/// Parameters, size and what was lost.
fn summary(report: &Report) -> String {
    let bits = report.bytes as f64 * 8.0 / report.parameters.max(1) as f64;
    let loss = match report.requantized {
        true => "quantizing anew added an error of",
        false => "the error of quantizing is",
    };
    format!(
        "{:.1} million parameters in {:.1} MB, {bits:.2} bits each; {loss} {:.2}% of the weights' \
         root mean square",
        report.parameters as f64 / 1e6,
        report.bytes as f64 / 1e6,
        report.loss * 100.0
    )
}

/// A line about how far it is, for a person who watches.
struct Meter {
    begun: Instant,
    shown: Option<Instant>,
    watched: bool,
}

impl Meter {
    fn start() -> Self {
        Self { begun: Instant::now(), shown: None, watched: io::stderr().is_terminal() }
    }

    fn show(&mut self, progress: Progress) {
        let recently = self.shown.is_some_and(|shown| shown.elapsed() < PAUSE);
        if !self.watched || recently {
            return;
        }
        self.shown = Some(Instant::now());
        let Progress { tensor, done, total } = progress;
        let part = done as f64 / total.max(1) as f64;
        let passed = self.begun.elapsed().as_secs_f64();
        let speed = done as f64 / passed / 1e6;
        let left = match done {
            0 => String::new(),
            _ => format!(", {:.0} s left", passed / part - passed),
        };
        let line = format!("{:3.0}%  {speed:.0} M weights/s{left}  {tensor}", part * 100.0);
        // A meter that cannot be shown is no reason to stop. The control
        // sequence clears what the line before was longer by.
        let _ = write!(io::stderr(), "\r{line}\u{1b}[K");
    }

    /// Takes the line away.
    fn clear(&self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
