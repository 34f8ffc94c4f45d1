//! Prefill and decoding on a model of the shape of the one in the box, as a
//! ratio to candle-transformers' `quantized_llama` in the same run.

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::Cursor;
use std::time::{Duration, Instant};

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use llama_agent::chat::Cancel;
use llama_agent::llama::portable::Precision;
use llama_agent::llama::{Forward, Gguf, Portable, Want};
use support::{Random, Tiny};

const PROMPT: usize = 900;
const REPLY: usize = 90;

fn main() -> anyhow::Result<()> {
    let bytes = Tiny::box_shape().bytes();
    let mut random = Random(7);
    let tokens: Vec<u32> = (0..PROMPT).map(|_| (random.next() % 2048) as u32).collect();
    let peer = fastest(|| peer(&bytes, &tokens))?;
    show("candle-transformers", peer, peer);
    for precision in [Precision::Stored, Precision::Float] {
        let ours = fastest(|| ours(&bytes, &tokens, precision))?;
        show(&format!("ours, {precision:?}"), ours, peer);
    }
    Ok(())
}

/// Loading, prefill and decoding.
type Times = [Duration; 3];

fn show(name: &str, times: Times, peer: Times) {
    let total: Duration = times.iter().sum();
    let ratio = peer.iter().sum::<Duration>().as_secs_f64() / total.as_secs_f64();
    let [load, prefill, decode] = times.map(|time| time.as_secs_f64() * 1e3);
    println!(
        "{name:20} load {load:6.1} ms  prefill {prefill:7.1} ms  decode {decode:7.1} ms  \
         total {:7.1} ms  {ratio:.2}x",
        total.as_secs_f64() * 1e3
    );
}

/// The fastest of a few runs, by the sum of its times.
fn fastest(mut run: impl FnMut() -> anyhow::Result<Times>) -> anyhow::Result<Times> {
    let mut all = (0..5).map(|_| run()).collect::<anyhow::Result<Vec<_>>>()?;
    all.sort_by_key(|times| times.iter().sum::<Duration>());
    Ok(all[0])
}

fn ours(bytes: &[u8], tokens: &[u32], precision: Precision) -> anyhow::Result<Times> {
    let start = Instant::now();
    let gguf = Gguf::from_bytes(bytes.to_vec())?;
    let mut model = Portable::with_precision(&gguf, None, precision)?;
    let loaded = Instant::now();
    let mut logits = Vec::new();
    let cancel = Cancel::new();
    let chunk = std::env::var("CHUNK").ok().and_then(|c| c.parse().ok()).unwrap_or(model.chunk());
    for (i, part) in tokens.chunks(chunk).enumerate() {
        let last = (i + 1) * chunk >= tokens.len();
        let want = if last { Want::Last } else { Want::Nothing };
        logits = model.forward(part, want, &cancel)?.unwrap_or_default();
    }
    let filled = Instant::now();
    for _ in 0..REPLY {
        logits = model.forward(&[best(&logits)], Want::Last, &cancel)?.unwrap_or_default();
    }
    Ok([loaded - start, filled - loaded, filled.elapsed()])
}

fn peer(bytes: &[u8], tokens: &[u32]) -> anyhow::Result<Times> {
    let start = Instant::now();
    let mut file = Cursor::new(bytes);
    let content = Content::read(&mut file)?;
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
    let loaded = Instant::now();
    let mut pass = |tokens: &[u32], at| -> anyhow::Result<Vec<f32>> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        Ok(model.forward(&input, at)?.flatten_all()?.to_vec1()?)
    };
    let mut logits = pass(tokens, 0)?;
    let filled = Instant::now();
    for i in 0..REPLY {
        logits = pass(&[best(&logits)], tokens.len() + i)?;
    }
    Ok([loaded - start, filled - loaded, filled.elapsed()])
}

fn best(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(id, _)| id as u32)
}
