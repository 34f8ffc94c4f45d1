//! Where the program runs a model, as a shell sees it.

mod program;
mod support;

use candle_core::quantized::GgmlDType;
use llama_agent::llama::{Gguf, cuda};
use program::{Place, agent, run};
use support::Tiny;

/// Of a shape and a format that the GPU engine has kernels for.
fn taken() -> Tiny {
    Tiny { dim: 256, heads: 4, ffn: 512, kind: GgmlDType::Q4_0, ..Tiny::default() }
}

/// A model file.
fn model(place: &Place, tiny: &Tiny) -> String {
    let path = place.folder.path().join("m.gguf");
    std::fs::write(&path, tiny.bytes()).expect("written");
    path.display().to_string()
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_that_helps() {
    if cuda::devices() > 0 {
        println!("skipped: there is an NVIDIA GPU here");
        return;
    }
    let place = Place::new();
    let model = model(&place, &taken());
    for device in ["cuda", "cuda:7"] {
        let (code, out, err) =
            run(&mut agent(&["ask", "--model", &model, "--device", device, "x"]));
        assert_eq!((code, out.as_str()), (3, ""), "{err}");
        assert!(err.contains("NVIDIA driver") && err.contains("--device cpu"), "{err}");
    }
    // The environment and the file say the same as the flag.
    let mut command = agent(&["ask", "--model", &model, "x"]);
    let (code, _, err) = run(command.env("AGENT_DEVICE", "cuda"));
    assert!(code == 3 && err.contains("NVIDIA driver"), "{err}");
    let config = place.file("config.toml", "device = \"cuda:1\"\ngpu-layers = 2\n");
    let mut command = agent(&["config", "--config"]);
    let (_, out, _) = run(command.arg(&config));
    assert!(out.contains("device = \"cuda:1\"") && out.contains("gpu-layers = 2"), "{out}");
    // What does not ask for a GPU by name runs without one, and says so where it matters.
    let says = |args: &[&str]| {
        let args = [&["ask", "--model", &model, "--max-new-tokens", "4"], args, &["x"]].concat();
        let (code, _, err) = run(&mut agent(&args));
        assert_ne!(code, 3, "{err}");
        err
    };
    assert!(!says(&[]).contains("CPU"));
    assert!(!says(&["--device", "cpu", "--gpu-layers", "2"]).contains("CPU"));
    assert!(says(&["--gpu-layers", "2"]).contains("runs on the CPU: --gpu-layers asks"));
    assert!(says(&["-v"]).contains("device: CPU ("));
}

#[test]
fn what_the_gpu_engine_does_not_run_is_refused_with_the_reason() {
    let runs = |tiny: Tiny| {
        let gguf = Gguf::from_bytes(tiny.bytes()).expect("a model");
        cuda::needs(&gguf, None, None).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(runs(taken()), Ok(()));
    for kind in [GgmlDType::F16, GgmlDType::F32, GgmlDType::Q4_1, GgmlDType::Q5_0] {
        let why = runs(Tiny { kind, ..taken() }).expect_err("no kernels for it");
        assert!(why.contains(&format!("{kind:?}")) && why.contains("--device cpu"), "{why}");
    }
    let why = runs(Tiny { heads: 16, ..taken() }).expect_err("no kernels for it");
    assert!(why.contains("heads of 16") && why.contains("--device cpu"), "{why}");
}

#[test]
fn a_format_is_refused_before_a_gpu_is_looked_for() {
    let place = Place::new();
    let model = model(&place, &Tiny::default());
    let (code, _, err) = run(&mut agent(&["ask", "--model", &model, "--device", "cuda", "x"]));
    assert!(code == 3 && err.contains("heads of 16"), "{err}");
}
