//! Values of flags: what is in range, and what to say of what is not.

use std::fmt;
use std::time::Duration;

/// Where a model of this machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// On a GPU where that is worth it and possible, else on the CPU.
    Auto,
    Cpu,
    /// On the NVIDIA GPU of this number, from 0.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// `auto`, `cpu`, `cuda` for the first GPU, or `cuda:N`.
pub fn device(text: &str) -> Result<Device, String> {
    let number = text.strip_prefix("cuda:").map(str::parse);
    match (text, number) {
        ("auto", _) => Ok(Device::Auto),
        ("cpu", _) => Ok(Device::Cpu),
        ("cuda", _) => Ok(Device::Cuda(0)),
        (_, Some(Ok(ordinal))) => Ok(Device::Cuda(ordinal)),
        _ => Err("it must be auto, cpu, cuda, or cuda:N for another GPU than the first".into()),
    }
}

/// A whole number of at least 1.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("it must be a whole number of at least 1".into()),
    }
}

/// A positive number of seconds, or of minutes with an `m` after it.
pub fn time(text: &str) -> Result<Duration, String> {
    let help = "it must be a positive number of seconds (30, 1.5, 90s) or minutes (2m)";
    let (number, unit) = match text.trim_end_matches(['s', 'm']) {
        number if text.len() == number.len() => (number, 1.0),
        number if &text[number.len()..] == "s" => (number, 1.0),
        number if &text[number.len()..] == "m" => (number, 60.0),
        number if &text[number.len()..] == "ms" => (number, 0.001),
        _ => return Err(help.into()),
    };
    let seconds: f64 = number.parse().map_err(|_| help)?;
    match Duration::try_from_secs_f64(seconds * unit) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(help.into()),
    }
}

/// 0 or more, and finite.
pub fn temperature(text: &str) -> Result<f64, String> {
    number(text, |t| t >= 0.0, "it must be a number of at least 0")
}

/// Above 0, up to 1.
pub fn top_p(text: &str) -> Result<f64, String> {
    number(text, |p| p > 0.0 && p <= 1.0, "it must be a number above 0 and up to 1")
}

/// Above 0, and finite.
pub fn repeat_penalty(text: &str) -> Result<f32, String> {
    let help = "it must be a number above 0; 1 is no penalty";
    let penalty = number(text, |x| x > 0.0, help)? as f32;
    if penalty > 0.0 && penalty.is_finite() { Ok(penalty) } else { Err(help.into()) }
}

fn number(text: &str, within: impl Fn(f64) -> bool, help: &str) -> Result<f64, String> {
    text.parse().ok().filter(|x: &f64| x.is_finite() && within(*x)).ok_or_else(|| help.into())
}
