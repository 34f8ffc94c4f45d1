//! Decoding at the shape of a known model with random weights on a GPU: time of
//! a pass of 1 to 16 tokens at context 512 and 4,000, and the bytes it reads.
//!
//! cargo bench --bench cuda -- [70b|13b|7b] [Q4_0|Q4_K|Q5_K|Q6_K|Q8_0]

use std::time::Instant;

use anyhow::{Context, Result};
use llama_agent::chat::Cancel;
use llama_agent::llama::config::Rope;
use llama_agent::llama::cuda::{Cuda, Format};
use llama_agent::llama::{Forward, LlamaConfig, Want};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let shape = words.iter().find(|word| word.ends_with('b')).map_or("70b", |word| word);
    let format = words.iter().find(|word| word.starts_with('Q')).map_or("Q4_0", |word| word);
    let format = Format::ALL.into_iter().find(|known| known.name() == format);
    let format = format.context("the format is not one of Q4_0, Q4_K, Q5_K, Q6_K, Q8_0")?;
    let start = Instant::now();
    let mut engine = Cuda::random(config(shape)?, format, 0)?;
    let needs = engine.needs();
    println!("{} of shape {shape} on {}", format.name(), engine.device());
    println!("load {:.1} s, {needs:?}", start.elapsed().as_secs_f64());
    let cancel = Cancel::new();
    let tokens = |n: usize| -> Vec<u32> { (0..n as u32).map(|i| i * 37 % 32_000).collect() };
    for context in [512, 4000] {
        // The first time a kernel runs it is loaded, too.
        let mut time = f64::INFINITY;
        for _ in 0..3 {
            engine.truncate(0);
            let start = Instant::now();
            engine.forward(&tokens(context), Want::Last, &cancel)?;
            time = time.min(start.elapsed().as_secs_f64());
        }
        println!("prefill {context} in {time:.3} s, {:.0} tokens/s", context as f64 / time);
        for columns in [1, 2, 4, 8, 16] {
            let mut times: Vec<f64> = Vec::new();
            for _ in 0..40 {
                engine.truncate(context);
                let start = Instant::now();
                let logits = engine.forward(&tokens(columns), Want::All, &cancel)?;
                times.push(start.elapsed().as_secs_f64());
                let logits = logits.context("nobody cancelled")?;
                anyhow::ensure!(logits.iter().all(|logit| logit.is_finite()), "not finite");
            }
            times.sort_by(f64::total_cmp);
            let time = times[times.len() / 2];
            println!(
                "context {context}, {columns:2} columns: {:6.2} ms, {:5.1} passes/s, {:.2} TB/s",
                time * 1e3,
                1.0 / time,
                needs.weights as f64 / time / 1e12
            );
        }
    }
    Ok(())
}

fn config(shape: &str) -> Result<LlamaConfig> {
    let (layers, dim, heads, kv_heads, ffn) = match shape {
        "70b" => (80, 8192, 64, 8, 28_672),
        "13b" => (40, 5120, 40, 40, 13_824),
        "7b" => (32, 4096, 32, 32, 11_008),
        _ => anyhow::bail!("the shape is not one of 70b, 13b, 7b"),
    };
    Ok(LlamaConfig {
        layers,
        dim,
        heads,
        kv_heads,
        head_dim: 128,
        ffn,
        vocab: 32_000,
        context: 4096,
        norm_eps: 1e-5,
        rope: Rope { dims: 128, base: 10_000.0, scale: 1.0, factors: false },
        tied: false,
    })
}
