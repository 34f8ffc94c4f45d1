//! Settings: the command line over the environment over the file over the
//! defaults, and what is said of those that cannot be used.

mod program;

use std::fs;

use assert_cmd::Command;
use program::{ANSWER, POWER, Place, agent, run, scripted};

/// The program for a person whose configuration file has this text.
fn person(place: &Place, text: &str, args: &[&str]) -> Command {
    let folder = place.folder.path().join("agent");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("config.toml"), text).expect("written");
    let mut command = agent(args);
    command.env_remove("AGENT_CONFIG");
    command.env("XDG_CONFIG_HOME", place.folder.path()).env("HOME", place.folder.path());
    command
}

/// What `agent config` says of a flag: its line, blanks made one.
fn line(shown: &str, flag: &str) -> String {
    let found = shown.lines().find(|line| line.starts_with(&format!("{flag} = ")));
    let line = found.unwrap_or_else(|| panic!("no {flag}:\n{shown}"));
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

// dirs reads XDG_CONFIG_HOME on these systems alone.
#[cfg(target_os = "linux")]
#[test]
fn the_command_line_wins_then_the_environment_then_the_file() {
    let place = Place::new();
    let file = "# mine\nmemory = 3\nmax-steps = 4\ntop-k = 7\nstrict = true\nsystem = 'a \"b\"'\n";
    let args = ["config", "--top-k", "6", "--color=never"];
    let mut command = person(&place, file, &args);
    let (code, out, err) = run(command.env("AGENT_MAX_STEPS", "9").env("AGENT_TOP_K", "8"));
    assert_eq!((code, err.as_str()), (0, ""));
    for (flag, said) in [
        ("memory", "memory = 3 # file, line 2"),
        ("max-steps", "max-steps = 9 # environment, AGENT_MAX_STEPS"),
        ("top-k", "top-k = 6 # flag"),
        ("strict", "strict = true # file, line 5"),
        ("system", "system = \"a \\\"b\\\"\" # file, line 6"),
        ("seed", "seed = 0 # default"),
        ("repeat-penalty", "repeat-penalty = 1.1 # default"),
    ] {
        assert_eq!(line(&out, flag), said);
    }
    assert!(out.contains("agent/config.toml\n") && out.contains("# model is not set"), "{out}");
    // What is shown is a file that says the same.
    let saved = place.file("saved.toml", &out);
    let (code, again, err) = run(agent(&["config", "--config"]).arg(saved));
    assert_eq!((code, err.as_str()), (0, ""));
    for flag in ["memory", "max-steps", "top-k", "strict", "system", "seed", "color"] {
        let value = |shown: &str| line(shown, flag).split(" # ").next().map(String::from);
        assert_eq!(value(&again), value(&out));
    }
}

#[test]
fn settings_change_what_happens_and_can_be_turned_off() {
    let place = Place::new();
    let script = place.file("power", POWER);
    let file = place.file("config.toml", "json = true\n");
    let mut ask = scripted(&script, &["ask", "q"]);
    ask.env("AGENT_CONFIG", &file);
    assert!(run(&mut ask).1.starts_with("{\"v\":1"));
    assert_eq!(run(ask.env("AGENT_JSON", "no")).1, ANSWER);
    assert!(run(ask.arg("--json")).1.starts_with("{\"v\":1"));
    let mut off = scripted(&script, &["ask", "q", "--json=false"]);
    assert_eq!(run(off.env("AGENT_CONFIG", &file)).1, ANSWER);
    // A model in the environment is no reason not to replay a script.
    let mut other = scripted(&script, &["ask", "q"]);
    assert_eq!(run(other.env("AGENT_MODEL", "/no/such/file")).1, ANSWER);
    let (code, _, err) = run(agent(&["ask", "q"]).env("AGENT_MODEL", "/no/such/file"));
    assert!(code == 3 && err.contains("/no/such/file"), "{err}");
    // An empty variable is none.
    let mut empty = scripted(&script, &["ask", "q"]);
    assert_eq!(run(empty.env("AGENT_MAX_STEPS", "")).0, 0);
}

#[test]
fn what_cannot_be_used_is_named_with_its_place() {
    let place = Place::new();
    for (text, said) in [
        ("\nmemroy = 3", "line 2: there is no setting memroy; did you mean memory?"),
        ("script = 'x'", "line 1: there is no setting script"),
        ("top-p = 2", "line 1: invalid value '2' for '--top-p <P>': it must be a number above 0"),
        ("seed = 1\ncolor = 'blue'", "line 2: invalid value 'blue'"),
        ("[sampling]\nseed = 1", "line 1: sampling must be a text, a number, true or false"),
        ("seed 1", "line 1"),
    ] {
        let file = place.file("wrong.toml", text);
        let (code, out, err) = run(agent(&["ask", "q"]).env("AGENT_CONFIG", &file));
        assert_eq!((code, out.as_str()), (2, ""), "{text}");
        assert!(err.contains(said) && err.contains("wrong.toml"), "{text}: {err}");
        // A shell that starts wants its completions in any case.
        assert_eq!(run(agent(&["completions", "bash"]).env("AGENT_CONFIG", &file)).0, 0);
        assert_eq!(run(agent(&["--help"]).env("AGENT_CONFIG", &file)).0, 0);
    }
    let (code, _, err) = run(&mut agent(&["config", "--config", "/no/such/file"]));
    assert!(code == 2 && err.contains("/no/such/file"), "{err}");
    let (code, _, err) = run(agent(&["config"]).env("AGENT_CONTEXT", "0"));
    assert!(code == 2 && err.contains("AGENT_CONTEXT: invalid value '0'"), "{err}");
}

#[test]
fn secrets_are_never_shown() {
    let place = Place::new();
    for command in ["config", "doctor", "models"] {
        let mut command = agent(&[command]);
        command.env("HOME", place.folder.path()).env("AGENT_API_KEY", "a-secret-key");
        let (code, out, err) = run(command.env("HF_TOKEN", "hf_secret"));
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(!out.contains("secret"), "{out}");
    }
}
