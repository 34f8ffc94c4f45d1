//! The prompts: what they promise the model is true, and overriding them.

use llama_agent::agent::prompts::Prompts;
use llama_agent::agent::step::{Step, read};
use llama_agent::tool::Registry;

fn folder(name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    folder
}

#[test]
fn worked_exchanges_are_what_the_tools_really_say() {
    let tools = Registry::standard();
    let system = Prompts::shipped().system(&tools).unwrap();
    let mut checked = 0;
    for reply in system.split("Assistant:").skip(1) {
        let end = reply.find("```\n").map_or(reply.trim_end().len(), |end| end + 3);
        let reading = read(&reply[..end], true);
        assert!(reading.repairs.is_empty(), "{reply}");
        match reading.step {
            Step::Act { tool, input } => {
                let observed = reply[end..].trim_start().strip_prefix("Observation: ").unwrap();
                let observed = observed.lines().next().unwrap();
                let said = tools.get(&tool).unwrap().call(&input);
                assert_eq!(said.unwrap_or_else(|error| error.to_string()), observed);
                checked += 1;
            }
            Step::Answer(answer) => assert!(!answer.is_empty()),
            Step::Unreadable { why } => panic!("{why}: {reply}"),
        }
    }
    assert_eq!(checked, 6, "the worked exchanges make six calls");
}

#[test]
fn the_system_message_lists_the_tools() {
    let tools = Registry::standard();
    let system = Prompts::shipped().system(&tools).unwrap();
    for tool in tools.iter() {
        assert!(system.contains(&format!("- {}: {}", tool.name(), tool.usage())));
    }
}

#[test]
fn a_folder_overrides_what_it_holds() {
    let folder = folder("reminder.jinja", "JSON please, {{ final_answer }} to end\n");
    let prompts = Prompts::from_folder(folder.path()).unwrap();
    assert_eq!(prompts.reminder().unwrap(), "JSON please, Final Answer to end");
    let tools = Registry::standard();
    assert_eq!(prompts.system(&tools).unwrap(), Prompts::shipped().system(&tools).unwrap());
    assert_ne!(prompts.hash().unwrap(), Prompts::shipped().hash().unwrap());
}

#[test]
fn a_folder_that_cannot_serve_says_why() {
    let cases = [
        (folder("reminder.jinja", "{{ nonsense }}"), "reminder.jinja"),
        (folder("system.jinja", "{% for %}"), "system.jinja"),
        (folder("sytem.jinja", "typo"), "sytem.jinja"),
        (folder("notes.txt", "no template here"), "holds none of"),
    ];
    for (folder, expected) in cases {
        let error = format!("{:#}", Prompts::from_folder(folder.path()).err().unwrap());
        assert!(error.contains(expected), "{error}");
    }
    let missing = Prompts::from_folder("/nonexistent/prompts".as_ref()).err().unwrap();
    assert!(format!("{missing:#}").contains("/nonexistent/prompts"));
}

#[cfg(feature = "embedded-model")]
#[test]
fn the_model_in_the_box_was_trained_with_the_shipped_prompts() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/calculator.gguf");
    let gguf = llama_agent::llama::Gguf::open(path.as_ref()).unwrap();
    assert_eq!(
        gguf.text("llama_agent.prompts.sha256").as_deref(),
        Some(&*Prompts::shipped().hash().unwrap()),
        "the prompts have changed: make the model again with training/run.sh"
    );
}
