//! Folders that are no Llama, or damaged: one sentence that says what is wrong
//! and what to do, and nothing is left of the try.

mod folder;
mod support;

use std::fs;

use candle_core::{DType, Device, Tensor};
use folder::{Folder, shard};
use serde_json::{Value as Json, json};

/// One sentence with what to do at its end.
fn refused(name: &str, folder: &Folder, expected: &str) {
    let message = folder.refused().to_string();
    assert!(message.contains(expected), "{name}: {message}");
    assert!(!message.contains('\n') && message.contains(": "), "{name}: {message}");
}

#[test]
fn configurations_that_are_no_llama() {
    for (key, value, expected) in [
        ("architectures", json!(["MistralForCausalLM"]), "\"MistralForCausalLM\""),
        ("architectures", json!([]), "has biases"),
        ("attention_bias", json!(true), "biases"),
        ("hidden_act", json!("gelu"), "\"gelu\""),
        ("quantization_config", json!({"quant_method": "gptq"}), "\"gptq\""),
        ("quantization_config", json!({"quant_method": "bitsandbytes", "load_in_8bit": true}), "8"),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 2.0}), "\"yarn\""),
        ("rope_scaling", json!({"rope_type": "linear"}), "lacks factor"),
        ("rope_parameters", json!({"rope_type": "llama3", "factor": 2.0}), "low_freq_factor"),
        ("rope_theta", json!(-1.0), "rope_theta is -1"),
        ("hidden_size", json!("256"), "is damaged"),
        ("hidden_size", Json::Null, "is damaged"),
        ("num_hidden_layers", json!(0), "num_hidden_layers is 0"),
        ("num_attention_heads", json!(0), "num_attention_heads is 0"),
        ("num_key_value_heads", json!(3), "do not go together"),
        ("vocab_size", json!(1u64 << 40), "vocab_size is"),
        ("num_hidden_layers", json!(3), "model.layers.2.input_layernorm.weight is missing"),
        ("num_hidden_layers", json!(1), "no part of a Llama"),
        ("intermediate_size", json!(500), "the shape [512, 256]"),
    ] {
        let mut folder = Folder::random();
        folder.config[key] = value;
        // Without a name, the kind of model decides.
        if key == "architectures" && expected == "has biases" {
            folder.config["model_type"] = json!("qwen2");
            folder.write(1);
            refused(key, &folder, "\"qwen2\"");
            continue;
        }
        folder.write(1);
        refused(key, &folder, expected);
    }
}

#[test]
fn weights_that_are_not_all_there() {
    let tensor = |dtype, shape: &[usize]| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    let up = "model.layers.1.mlp.up_proj.weight";
    for (name, dtype, shape, expected) in [
        (up, DType::I64, &[512, 256][..], "is in I64"),
        (up, DType::U8, &[512, 256], "is in U8"),
        (up, DType::BF16, &[512, 128], "has the shape [512, 128]"),
        (up, DType::BF16, &[512 * 256], "has the shape [131072]"),
        ("model.layers.0.self_attn.q_proj.bias", DType::BF16, &[256], "q_proj.bias"),
        ("model.layers.0.mlp.experts.0.w1.weight", DType::BF16, &[8, 8], "no part of a Llama"),
    ] {
        let mut folder = Folder::random();
        folder.tensors.insert(name.into(), tensor(dtype, shape));
        folder.write(1);
        refused(name, &folder, expected);
    }
    let mut folder = Folder::random();
    folder.tensors.remove(up);
    folder.write(1);
    refused("no tensor", &folder, "up_proj.weight is missing");
    // What older folders carry along is passed over.
    let mut folder = Folder::random();
    let inverse = "model.layers.0.self_attn.rotary_emb.inv_freq";
    folder.tensors.insert(inverse.into(), tensor(DType::F32, &[32]));
    folder.write(1);
    folder.quantized(llama_agent::llama::convert::Target::Q8_0);
}

#[test]
fn files_that_are_missing_or_damaged() {
    let second = shard(1, 3);
    let index = "model.safetensors.index.json";
    type Change<'a> = Box<dyn Fn(&Folder) + 'a>;
    let remove = |name: &'static str| -> Change {
        Box::new(move |folder: &Folder| fs::remove_file(folder.path().join(name)).unwrap())
    };
    let write = |name: &'static str, bytes: &'static [u8]| -> Change {
        Box::new(move |folder: &Folder| drop(folder.file(name, bytes)))
    };
    let cases: Vec<(&str, Change, &str)> = vec![
        ("no config", remove("config.json"), "there is no config.json"),
        ("no index", remove(index), "there is no model.safetensors in"),
        ("no tokenizer", remove("tokenizer.model"), "there is no tokenizer.model and no tok"),
        (
            "no shard",
            Box::new(|folder| fs::remove_file(folder.path().join(&second)).unwrap()),
            "there is no model-00002-of-00003.safetensors",
        ),
        (
            "half a shard",
            Box::new(|folder| {
                let path = folder.path().join(&second);
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            }),
            "model-00002-of-00003.safetensors is damaged",
        ),
        (
            "an empty shard",
            Box::new(|folder| drop(folder.file(&second, ""))),
            "is empty or no file",
        ),
        (
            "the same tensors twice",
            Box::new(|folder| {
                let (first, second) =
                    (folder.path().join(shard(0, 3)), folder.path().join(&second));
                fs::copy(first, second).unwrap();
            }),
            "is in another file too",
        ),
        ("no JSON", write("config.json", b"{"), "config.json is damaged"),
        ("no index", write(index, b"{}"), "no weight_map"),
        ("a path", write(index, br#"{"weight_map": {"a": "../b"}}"#), "no file's name"),
        ("a number", write(index, br#"{"weight_map": {"a": 3}}"#), "no file's name"),
        ("no pieces", write("tokenizer.model", b""), "it has no pieces"),
        ("base64", write("tokenizer.model", b"IQ== 0\n"), "tokenizer.model is damaged"),
        ("half a piece", write("tokenizer.model", b"\x0a\xff\xff"), "cut short"),
        ("an endless number", write("tokenizer.model", &[0xff; 20]), "does not end"),
        ("unigrams", write("tokenizer.model", b"\x0a\x03\x0a\x01a"), "model type is 1"),
        ("no text", write("tokenizer.model", b"\x0a\x03\x0a\x01\xff"), "not UTF-8"),
        ("no kind", write("tokenizer.model", b"\x0a\x02\x18\x07"), "no known kind"),
        ("the config", write("tokenizer_config.json", b"["), "tokenizer_config.json is damaged"),
    ];
    for (name, change, expected) in cases {
        let folder = Folder::random();
        folder.write(3);
        change(&folder);
        refused(name, &folder, expected);
    }
}

#[test]
fn a_list_that_promises_more_than_the_files_hold() {
    let folder = Folder::random();
    folder.write(2);
    let index = fs::read(folder.path().join("model.safetensors.index.json")).unwrap();
    let mut index: Json = serde_json::from_slice(&index).unwrap();
    index["weight_map"]["model.other"] = json!(shard(0, 2));
    folder.file("model.safetensors.index.json", index.to_string());
    refused("more", &folder, "lists model.other, which is in no file");
}
