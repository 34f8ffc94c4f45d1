//! How long a question takes from a process's start to its exit, with the
//! model in the box: with the system message processed, with a snapshot of it
//! written meanwhile, and with one that is there. All answers are the same.
//!
//! `cargo bench --features embedded-model --bench start`

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

const RUNS: usize = 20;
const QUESTION: &str = "what is 4**2.1";
const RESULT: &str = "18.37917367995256";
/// What a question may take with a snapshot on two cores.
const BAR: Duration = Duration::from_millis(250);

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("snapshots");
    let kept = [Path::new("--snapshots"), &store];
    // Nothing is measured before everything was read from the disk once.
    let (_, answer) = ask(&[Path::new("--no-snapshot")])?;
    ensure!(answer.contains(RESULT), "{answer}");
    let (mut without, mut cold, mut warm) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let _ = std::fs::remove_dir_all(&store);
        for (times, args) in [
            (&mut without, &[Path::new("--no-snapshot")][..]),
            (&mut cold, &kept),
            (&mut warm, &kept),
        ] {
            let (time, found) = ask(args)?;
            ensure!(found == answer, "{found} instead of {answer}");
            times.push(time);
        }
    }
    let [without, cold, warm] = [without, cold, warm].map(|mut times| {
        times.sort();
        (times[0], times[RUNS / 2], times[RUNS - 1])
    });
    for (name, (least, middle, most)) in
        [("no snapshot", without), ("snapshot written", cold), ("snapshot read", warm)]
    {
        println!(
            "{name:16}  median {middle:7.1?}  from {least:.1?} to {most:.1?}  {:.2}x",
            without.1.as_secs_f64() / middle.as_secs_f64()
        );
    }
    ensure!(warm.1 < BAR, "the median with a snapshot is not under {BAR:?}");
    Ok(())
}

fn ask(args: &[&Path]) -> Result<(Duration, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
    command.args(["ask", QUESTION]).args(args).env("AGENT_CONFIG", "");
    let begun = Instant::now();
    let output = command.output()?;
    let time = begun.elapsed();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok((time, String::from_utf8(output.stdout)?))
}
