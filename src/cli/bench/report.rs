//! What was measured: a line as soon as something is, or one JSON object.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::subject::Subject;
use crate::cli::args::Shared;
use crate::cli::face::sink::{STRONG, Sink};
use crate::cli::face::words;
use crate::llama::{Forward, Memory};

/// A number of tokens at a context, and the time that they took.
pub struct At {
    pub context: usize,
    pub tokens: usize,
    pub time: Duration,
}

impl At {
    fn rate(&self) -> f64 {
        self.tokens as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// How long a pass of several tokens takes.
pub struct Cost {
    pub columns: usize,
    pub time: Duration,
}

/// What memory can do, in bytes a second, and how that was measured.
pub struct Bandwidth {
    pub of: &'static str,
    pub rate: f64,
}

/// The report of a model's speed.
pub struct Report {
    out: Sink,
    json: bool,
    object: Value,
    memory: Option<Memory>,
    rate: f64,
    /// The time of a pass of one token at this context.
    one: Duration,
}

impl Report {
    pub fn new(shared: &Shared, subject: &Subject) -> Self {
        Self {
            out: Sink::stdout(shared.face.color),
            json: shared.face.json,
            object: json!({"model": subject.name(), "contexts": []}),
            memory: None,
            rate: 0.0,
            one: Duration::ZERO,
        }
    }

    /// The engine is there.
    ///
    /// # Errors
    /// Standard output cannot be written to; so for all the others.
    pub fn loaded(
        &mut self,
        time: Duration,
        device: String,
        engine: &dyn Forward,
    ) -> io::Result<()> {
        self.memory = engine.memory();
        self.object["device"] = device.as_str().into();
        self.object["load_seconds"] = time.as_secs_f64().into();
        let model = self.object["model"].as_str().unwrap_or_default().to_string();
        self.line("Model", model)?;
        self.line("On", device)?;
        self.line("Load", words::seconds(time))
    }

    pub fn bandwidth(&mut self, Bandwidth { of, rate }: Bandwidth) -> io::Result<()> {
        self.rate = rate;
        self.object["bandwidth"] = json!({"of": of, "bytes_per_second": rate});
        self.line("Bandwidth", format!("{:.1} GB/s {of}", rate / 1e9))
    }

    pub fn prefill(&mut self, at: At) -> io::Result<()> {
        let contexts = self.object["contexts"].as_array_mut();
        contexts.into_iter().for_each(|list| list.push(json!({"context": at.context})));
        self.put("prefill", timed(&at));
        let At { context, tokens, time } = at;
        let first = if tokens < context { "the last " } else { "" };
        let what = format!("{first}{tokens} of {context} tokens in {}", words::seconds(time));
        self.line("Prefill", format!("{what}, {:.1} a second", at.rate()))
    }

    pub fn decode(&mut self, at: At) -> io::Result<()> {
        self.put("decode", timed(&at));
        let mut what = format!("{:.2} tokens a second at context {}", at.rate(), at.context);
        if let Some(memory) = self.memory {
            // What each token has to have read: the weights, and what came before it.
            let bytes = memory.read + memory.token * at.context as u64;
            let share = bytes as f64 * at.rate() / self.rate.max(1.0);
            self.put("bandwidth_share", share.into());
            what += &format!(", {:.0}% of the bandwidth", share * 100.0);
        }
        self.line("Decode", what)
    }

    pub fn cost(&mut self, Cost { columns, time }: Cost) -> io::Result<()> {
        if columns == 1 {
            self.one = time;
            self.put("columns", json!([]));
        }
        let ratio = time.as_secs_f64() / self.one.as_secs_f64().max(1e-9);
        let cost = json!({"columns": columns, "seconds": time.as_secs_f64(), "ratio": ratio});
        let list = self.context().and_then(|at| at["columns"].as_array_mut());
        list.into_iter().for_each(|list| list.push(cost.clone()));
        let time = time.as_secs_f64() * 1e3;
        self.line("Pass", format!("{columns:2} tokens in {time:.2} ms, {ratio:.2} times one"))
    }

    /// What the engine holds in the end, and the object where that is wanted.
    pub fn finish(&mut self, memory: Option<Memory>, interrupted: bool) -> io::Result<()> {
        self.object["interrupted"] = interrupted.into();
        let said = match memory {
            None => "this engine does not say".into(),
            Some(Memory { weights, read, cache, token, buffers, elsewhere }) => {
                self.object["memory"] = json!({
                    "weights": weights, "read_in_a_pass": read, "cache": cache,
                    "cache_of_a_token": token, "buffers": buffers, "elsewhere": elsewhere
                });
                let total = words::bytes(weights + cache + buffers);
                let parts = [weights, cache, buffers, elsewhere].map(words::bytes);
                let [weights, cache, buffers, driver] = parts;
                let said = format!(
                    "{total}: {weights} of weights, {cache} of cache, {buffers} of buffers"
                );
                match elsewhere {
                    0 => said,
                    _ => format!("{said}; apart from that, {driver} by the driver and others"),
                }
            }
        };
        self.line("Memory", said)?;
        match self.json {
            true => self.out.text(&format!("{}\n", self.object)),
            false => Ok(()),
        }
    }

    /// The context that is being measured.
    fn context(&mut self) -> Option<&mut Value> {
        self.object["contexts"].as_array_mut()?.last_mut()
    }

    fn put(&mut self, key: &str, value: Value) {
        if let Some(at) = self.context() {
            at[key] = value;
        }
    }

    fn line(&mut self, name: &str, what: String) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        self.out.styled(STRONG, &format!("{name:<10}"))?;
        self.out.text(&format!(" {what}\n"))
    }
}

fn timed(at: &At) -> Value {
    json!({
        "tokens": at.tokens,
        "seconds": at.time.as_secs_f64(),
        "tokens_per_second": at.rate()
    })
}
