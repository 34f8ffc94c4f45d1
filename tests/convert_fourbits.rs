//! Checkpoints in bitsandbytes' 4 bits: read to the last bit as bitsandbytes
//! reads them, and what quantizing them anew costs is said.

mod folder;
mod support;

use std::io::Write;
use std::path::Path;
use std::process::Command;

use candle_core::quantized::gguf_file::Content;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use folder::Folder;
use llama_agent::llama::convert::{Checkpoint, Target};
use serde_json::json;
use sha2::{Digest, Sha256};
use support::Random;

/// Every matrix of a file made by `parity/fourbits.py`; how many there were.
fn equal_to_bitsandbytes(file: &Path) -> usize {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(file, folder.path().join("model.safetensors")).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    let names = tensors.keys().filter_map(|name| name.strip_suffix(".sha256"));
    let mut count = 0;
    for name in names {
        let values = checkpoint.values(&format!("{name}.weight")).unwrap();
        // Zeros of either sign as positive ones: see the script.
        let bytes: Vec<_> = values.iter().flat_map(|value| (value + 0.0).to_le_bytes()).collect();
        let expected = tensors[&format!("{name}.sha256")].to_vec1::<u8>().unwrap();
        assert_eq!(Sha256::digest(&bytes)[..], expected[..], "{name}");
        count += 1;
    }
    count
}

#[test]
fn every_bit_is_what_bitsandbytes_made() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/fourbits.safetensors");
    assert_eq!(equal_to_bitsandbytes(Path::new(fixture)), 4);
}

#[test]
fn every_bit_is_what_bitsandbytes_makes() {
    let Ok(python) = std::env::var("AGENT_PARITY_PYTHON") else {
        // Past the test harness, which would keep the line to itself.
        let note = "skipped: parity of 4-bit checkpoints, AGENT_PARITY_PYTHON names no Python";
        writeln!(std::io::stderr(), "{note}").unwrap();
        return;
    };
    let has = |modules: &str| {
        let output = Command::new(&python).args(["-c", modules]).output();
        output.unwrap_or_else(|error| panic!("{python}: {error}")).status.success()
    };
    if !has("import torch, bitsandbytes, safetensors") {
        let note = "skipped: parity of 4-bit checkpoints, that Python has no bitsandbytes";
        writeln!(std::io::stderr(), "{note}").unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.safetensors");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/fourbits.py");
    let output = Command::new(&python).arg(script).arg(&file).arg("2").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(equal_to_bitsandbytes(&file), 48);
}

/// Replaces a matrix by random numbers in 4 bits.
fn four_bits(folder: &mut Folder, name: &str, nested: bool, random: &mut Random) {
    let shape = folder.tensors[name].dims().to_vec();
    let elements: usize = shape.iter().product();
    let mut bytes = |count: usize| -> Vec<u8> { (0..count).map(|_| random.next() as u8).collect() };
    let mut add = |suffix: &str, tensor: candle_core::Result<Tensor>| {
        folder.tensors.insert(format!("{name}{suffix}"), tensor.unwrap());
    };
    let cpu = &Device::Cpu;
    add("", Tensor::from_vec(bytes(elements / 2), (elements / 2, 1), cpu));
    let blocks = elements / 64;
    let mut state = json!({
        "quant_type": if nested { "nf4" } else { "fp4" },
        "blocksize": 64,
        "dtype": "bfloat16",
        "shape": shape,
    });
    if nested {
        state["nested_blocksize"] = json!(256);
        state["nested_dtype"] = json!("float32");
        state["nested_offset"] = json!(0.125);
        add(".absmax", Tensor::from_vec(bytes(blocks), blocks, cpu));
        let scales = vec![0.25f32; blocks.div_ceil(256)];
        add(".nested_absmax", Tensor::from_vec(scales, blocks.div_ceil(256), cpu));
        let map: Vec<f32> = (0..256).map(|i| i as f32 / 256.0).collect();
        add(".nested_quant_map", Tensor::from_vec(map, 256, cpu));
    } else {
        let scales: Vec<f32> = bytes(blocks).iter().map(|&b| 0.1 + f32::from(b) / 999.0).collect();
        add(".absmax", Tensor::from_vec(scales, blocks, cpu));
    }
    add(".quant_map", Tensor::zeros(16, DType::F32, cpu));
    let text = state.to_string().into_bytes();
    let kind = if nested { "nf4" } else { "fp4" };
    let length = text.len();
    let suffix = format!(".quant_state.bitsandbytes__{kind}");
    add(&suffix, Tensor::from_vec(text, length, cpu));
}

const MATRICES: [&str; 3] = [
    "model.layers.0.mlp.down_proj.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.1.mlp.up_proj.weight",
];

fn quantized_folder() -> Folder {
    let mut folder = Folder::random();
    let mut random = Random(11);
    for (i, name) in MATRICES.into_iter().enumerate() {
        four_bits(&mut folder, name, i > 0, &mut random);
    }
    folder.config["quantization_config"] =
        json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false});
    folder
}

#[test]
fn they_become_a_model_and_the_added_error_is_reported() {
    let folder = quantized_folder();
    folder.write(2);
    let (path, report) = folder.quantized(Target::Q8_0);
    assert!(report.requantized && report.loss > 1e-4 && report.loss < 0.01, "{}", report.loss);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let mut file = std::fs::File::open(path).unwrap();
    let content = Content::read(&mut file).unwrap();
    assert!(content.tensor_infos.len() < folder.tensors.len());
    for (name, ours, shape, heads) in [
        (MATRICES[0], "blk.0.ffn_down.weight", (256, 512), None),
        (MATRICES[1], "blk.0.attn_q.weight", (256, 256), Some(4)),
        (MATRICES[2], "blk.1.ffn_up.weight", (512, 256), None),
    ] {
        let values = checkpoint.values(name).unwrap();
        assert!(values.iter().any(|value| *value != values[0]));
        let matrix = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let matrix = match heads {
            Some(heads) => folder::reorder(&matrix, heads, true),
            None => matrix,
        };
        let theirs = QTensor::quantize(&matrix, GgmlDType::Q8_0).unwrap();
        let ours = content.tensor(&mut file, ours, &Device::Cpu).unwrap();
        assert!(ours.data().unwrap() == theirs.data().unwrap(), "{name}");
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let vector = |count: usize| Tensor::zeros(count, DType::F32, &Device::Cpu).unwrap();
    let state =
        |text: &str| Tensor::from_vec(text.as_bytes().to_vec(), text.len(), &Device::Cpu).unwrap();
    let fp4 = ".quant_state.bitsandbytes__fp4";
    for (part, replaced, expected) in [
        (".absmax", Some(vector(9)), "9 block values for 2048 blocks"),
        (".absmax", None, "absmax is missing"),
        (fp4, Some(state("{")), "is damaged"),
        (fp4, Some(state(r#"{"quant_type": "q", "blocksize": 64}"#)), "unknown variant"),
        (
            fp4,
            Some(state(
                r#"{"quant_type":"fp4","blocksize":0,"dtype":"float16","shape":[256,512]}"#,
            )),
            "blocks of",
        ),
        (
            fp4,
            Some(state(
                r#"{"quant_type":"fp4","blocksize":64,"dtype":"float16","shape":[256,256]}"#,
            )),
            "bytes for the shape [256, 256]",
        ),
    ] {
        let mut folder = quantized_folder();
        let name = format!("{}{part}", MATRICES[0]);
        match replaced {
            Some(tensor) => folder.tensors.insert(name, tensor),
            None => folder.tensors.remove(&name),
        };
        folder.write(1);
        let message = folder.refused().to_string();
        assert!(message.contains(expected), "{message}");
    }
}
