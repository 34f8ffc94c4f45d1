//! A Hugging Face folder to a GGUF file: the same model, in blocks that others
//! would have made, in a file that others can read.

mod folder;
mod program;
mod support;

use std::fs;
use std::io::Cursor;

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Llama, LlamaConfig};
use folder::{Folder, reorder, their_name};
use llama_agent::chat::Cancel;
use llama_agent::llama::convert::{Conversion, ConvertError, Target};
use llama_agent::llama::{Forward, Gguf, Portable, Want};
use serde_json::json;
use support::Random;

const TARGETS: [(Target, GgmlDType, GgmlDType); 4] = [
    (Target::Q4_0, GgmlDType::Q4_0, GgmlDType::Q6K),
    (Target::Q4K, GgmlDType::Q4K, GgmlDType::Q6K),
    (Target::Q6K, GgmlDType::Q6K, GgmlDType::Q6K),
    (Target::Q8_0, GgmlDType::Q8_0, GgmlDType::Q8_0),
];

/// What candle-transformers computes from the folder's own tensors, in f32.
fn their_logits(folder: &Folder, tokens: &[u32]) -> Vec<f32> {
    let config: LlamaConfig = serde_json::from_value(folder.config.clone()).unwrap();
    let config = config.into_config(false);
    let tensors = folder.tensors.iter().map(|(name, t)| (name.clone(), t.clone())).collect();
    let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let model = Llama::load(weights, &config).unwrap();
    let mut cache = Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
    let tokens = Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let logits = model.forward(&tokens, 0, &mut cache).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

fn our_logits(path: &std::path::Path, tokens: &[u32]) -> Vec<f32> {
    let mut model = Portable::new(&Gguf::open(path).unwrap(), None).unwrap();
    model.forward(tokens, Want::Last, &Cancel::new()).unwrap().unwrap()
}

/// Root mean square of the difference, relative to the logits'.
fn off(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
    let difference = square(&mut ours.iter().zip(theirs).map(|(a, b)| a - b));
    (difference / square(&mut theirs.iter().copied())).sqrt()
}

fn tokens(count: usize) -> Vec<u32> {
    let mut random = Random(3);
    (0..count).map(|_| (random.next() % 512) as u32).collect()
}

#[test]
fn the_model_computes_the_same() {
    let prompt = tokens(150);
    let llama3 = json!({
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    });
    for (name, key, value) in [
        ("plain", "rope_theta", json!(10000.0)),
        ("another base", "rope_theta", json!(500000.0)),
        ("llama3 scaling", "rope_scaling", llama3),
        ("tied", "tie_word_embeddings", json!(true)),
        ("as many keys as queries", "num_key_value_heads", json!(4)),
    ] {
        let mut config = Folder::random().config;
        config[key] = value;
        let folder = Folder::of(config, support::vocabulary(512)).rounded();
        folder.write(1);
        let (path, report) = folder.quantized(Target::Q8_0);
        assert!(report.loss < 1e-6, "{name}: {}", report.loss);
        let off = off(&our_logits(&path, &prompt), &their_logits(&folder, &prompt));
        assert!(off < 1e-4, "{name}: {off}");
    }
}

#[test]
fn fewer_bits_are_further_off_and_say_so() {
    let folder = Folder::random();
    folder.write(2);
    let prompt = tokens(40);
    let theirs = their_logits(&folder, &prompt);
    let mut losses = Vec::new();
    for (target, ..) in TARGETS {
        let (path, report) = folder.quantized(target);
        assert!(!report.requantized && report.notices.is_empty(), "{:?}", report.notices);
        let off = off(&our_logits(&path, &prompt), &theirs);
        losses.push((report.loss, off));
    }
    // What quantizing changed in the weights, and what that does to the logits.
    assert!(losses.is_sorted_by(|a, b| a.0 > b.0), "{losses:?}");
    assert!(losses[0].0 < 0.09 && losses[3].0 < 0.006, "{losses:?}");
    assert!(losses[0].1 > losses[2].1 && losses[2].1 > losses[3].1, "{losses:?}");
    assert!(losses[3].1 < 0.05, "{losses:?}");
}

#[test]
fn every_block_is_the_one_that_candle_makes() {
    let folder = Folder::random();
    folder.write(3);
    for (target, kind, output) in TARGETS {
        let (path, report) = folder.quantized(target);
        let bytes = fs::read(&path).unwrap();
        let mut file = Cursor::new(&bytes);
        let content = Content::read(&mut file).unwrap();
        assert_eq!(content.tensor_infos.len(), folder.tensors.len());
        assert_eq!(report.tensors, folder.tensors.len());
        let mut total = 0;
        for name in content.tensor_infos.keys() {
            let ours = content.tensor(&mut file, name, &Device::Cpu).unwrap();
            let theirs = folder.tensors[&their_name(name)].to_dtype(DType::F32).unwrap();
            let theirs = match name.split('.').nth(2) {
                Some("attn_q") => reorder(&theirs, 4, true),
                Some("attn_k") => reorder(&theirs, 2, true),
                _ => theirs,
            };
            let kind = match name.as_str() {
                "output.weight" => output,
                _ if theirs.rank() == 1 => GgmlDType::F32,
                _ => kind,
            };
            let theirs = QTensor::quantize(&theirs, kind).unwrap();
            assert_eq!((ours.dtype(), ours.shape()), (kind, theirs.shape()), "{name}");
            assert!(ours.data().unwrap() == theirs.data().unwrap(), "{name} in {target}");
            total += ours.storage_size_in_bytes() as u64;
        }
        assert_eq!(report.bytes, total);
        // The last tensor is filled up too, as every reader may expect.
        assert_eq!(bytes.len() % 32, 0);
    }
}

#[test]
fn the_model_in_the_box_survives_the_way_there_and_back() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/calculator.gguf");
    let bytes = fs::read(path).unwrap();
    let folder = Folder::from_gguf(&bytes);
    folder.write(3);
    let (again, report) = folder.quantized(Target::Q8_0);
    assert!(report.loss < 1e-6, "{}", report.loss);
    let again = fs::read(again).unwrap();
    let (mut old, mut new) = (Cursor::new(&bytes), Cursor::new(&again));
    let (before, after) = (Content::read(&mut old).unwrap(), Content::read(&mut new).unwrap());
    assert_eq!(before.tensor_infos.len(), after.tensor_infos.len());
    for name in before.tensor_infos.keys() {
        let before = before.tensor(&mut old, name, &Device::Cpu).unwrap();
        let after = after.tensor(&mut new, name, &Device::Cpu).unwrap();
        assert_eq!((before.dtype(), before.shape()), (after.dtype(), after.shape()), "{name}");
        // Values, not blocks: a block too small for its scale in f16 stands for
        // zeros, whatever its numbers, and comes back as zeros.
        let values = |tensor: QTensor| -> Vec<f32> {
            tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        assert!(values(before) == values(after), "{name}");
    }
    for key in ["tokens", "scores", "token_type", "bos_token_id", "eos_token_id", "model"] {
        let key = format!("tokenizer.ggml.{key}");
        let shown = |content: &Content| format!("{:?}", content.metadata[&key]);
        assert_eq!(shown(&before), shown(&after), "{key}");
    }
}

#[test]
fn rows_that_are_no_whole_blocks_fall_back_with_a_notice() {
    let mut config = Folder::random().config;
    config["hidden_size"] = json!(320);
    let folder = Folder::of(config, support::vocabulary(512));
    folder.write(1);
    for (target, expected, notice) in
        [(Target::Q4K, GgmlDType::Q4_0, "q4_0 and q8_0"), (Target::Q6K, GgmlDType::Q8_0, "in q8_0")]
    {
        let (path, report) = folder.quantized(target);
        let content = Content::read(&mut fs::File::open(path).unwrap()).unwrap();
        let kind = |name: &str| content.tensor_infos[name].ggml_dtype;
        assert_eq!(kind("blk.0.attn_q.weight"), expected);
        assert_eq!(kind("output.weight"), GgmlDType::Q8_0);
        // 512 columns.
        let asked = if target == Target::Q4K { GgmlDType::Q4K } else { GgmlDType::Q6K };
        assert_eq!(kind("blk.1.ffn_down.weight"), asked);
        assert!(report.notices[0].contains(notice), "{:?}", report.notices);
    }
}

#[test]
fn the_header_says_what_the_model_is() {
    let mut folder = Folder::random();
    folder.config["rope_scaling"] = json!({"type": "linear", "factor": 2.0});
    folder.write(1);
    let (path, _) = folder.quantized(Target::Q4K);
    let content = Content::read(&mut fs::File::open(path).unwrap()).unwrap();
    let shown = |key: &str| match &content.metadata[key] {
        Value::String(text) => text.clone(),
        Value::U32(number) => number.to_string(),
        Value::F32(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    for (key, value) in [
        ("general.architecture", "llama"),
        ("general.file_type", "14"),
        ("general.quantization_version", "2"),
        ("llama.block_count", "2"),
        ("llama.context_length", "256"),
        ("llama.attention.head_count_kv", "2"),
        ("llama.rope.freq_base", "10000"),
        ("llama.rope.scaling.type", "linear"),
        ("llama.rope.scaling.factor", "2"),
        ("tokenizer.ggml.bos_token_id", "1"),
        ("tokenizer.ggml.unknown_token_id", "0"),
    ] {
        assert_eq!(shown(key), value, "{key}");
    }
}

#[test]
fn stopped_anywhere_it_leaves_nothing() {
    let folder = Folder::random();
    folder.write(2);
    let output = folder.path().join("stopped.gguf");
    for after in [0, 1, 7] {
        let cancel = Cancel::new();
        let mut seen = 0;
        let conversion = Conversion::plan(folder.path(), Target::Q4K).unwrap();
        let result = conversion.write(&output, &cancel, &mut |progress| {
            assert!(progress.done < progress.total);
            if seen == after {
                cancel.ask();
            }
            seen += 1;
        });
        assert!(matches!(result, Err(ConvertError::Cancelled)), "{result:?}");
        assert!(folder.leftovers().is_empty(), "{:?}", folder.leftovers());
        assert_eq!(seen, after + 1);
    }
}

#[test]
fn the_command_writes_a_file_and_never_over_one() {
    let folder = Folder::random();
    folder.write(2);
    let output = folder.path().join("out.gguf");
    let (source, name) = (folder.path().to_str().unwrap(), output.to_str().unwrap());
    let args = ["quantize", source, "--to", "q4_0", "-o", name];
    let (code, out, err) = program::run(&mut program::agent(&args));
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("1.4 million parameters") && err.contains(name), "{err}");
    let before = fs::read(&output).unwrap();
    let (code, _, err) = program::run(&mut program::agent(&args));
    assert!(code == 1 && err.contains("is there already"), "{code} {err}");
    assert!(before == fs::read(&output).unwrap());
    let (code, ..) = program::run(&mut program::agent(&["quantize", source, "--to", "q3_k"]));
    assert_eq!(code, 2);
    let nowhere = folder.path().join("no/where.gguf");
    let args = ["quantize", source, "-o", nowhere.to_str().unwrap()];
    let (code, _, err) = program::run(&mut program::agent(&args));
    assert!(code == 1 && err.contains("cannot be written"), "{code} {err}");
}
