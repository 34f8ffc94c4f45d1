//! Made-up tools: they stand beside the Calculator in part of the
//! conversations, so that the model reads the list instead of knowing it.

use std::collections::HashMap;

use llama_agent::chat::InputForm;
use llama_agent::tool::calculator::Calculator;
use llama_agent::tool::{Registry, Tool, ToolError};

use super::conversation::Conversation;

/// A tool that says what a conversation has it say.
pub struct MadeUp {
    name: String,
    usage: String,
    says: HashMap<String, String>,
}

impl Tool for MadeUp {
    fn name(&self) -> &str {
        &self.name
    }

    fn usage(&self) -> &str {
        &self.usage
    }

    fn form(&self) -> InputForm {
        InputForm::Text
    }

    fn call(&self, input: &str) -> Result<String, ToolError> {
        self.says.get(input).cloned().ok_or_else(|| ToolError(format!("Nothing known of {input}.")))
    }
}

/// A tool in a list: its name and what the system message says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub usage: String,
}

/// The tools of a conversation, in their order; the Calculator is itself.
pub fn registry(listed: &[Listed], conversation: &Conversation) -> Registry {
    let mut registry = Registry::default();
    for tool in listed {
        if tool.name == "Calculator" {
            registry.add(Box::new(Calculator));
            continue;
        }
        let calls = conversation.turns.iter().flat_map(|turn| &turn.calls);
        let says = calls
            .filter(|call| call.tool == tool.name)
            .map(|call| (call.input.clone(), call.observation.clone()))
            .collect();
        let (name, usage) = (tool.name.clone(), tool.usage.clone());
        registry.add(Box::new(MadeUp { name, usage, says }));
    }
    registry
}
