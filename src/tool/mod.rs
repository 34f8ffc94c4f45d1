//! Tools: what the agent can do besides talking.

pub mod calculator;

use crate::chat::{InputForm, ToolForm};

/// Something the model can call by name with one input.
pub trait Tool: Send {
    /// The name the model calls it by.
    fn name(&self) -> &str;
    /// What the system prompt says of it.
    fn usage(&self) -> &str;
    /// The shape of its input.
    fn form(&self) -> InputForm;
    /// Runs it. An error is an observation the model can recover from, not a crash.
    fn call(&self, input: &str) -> Result<String, ToolError>;
}

/// What went wrong in a tool, in one sentence that the model reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(pub String);

/// The tools of an agent, in the order in which the prompt lists them.
#[derive(Default)]
pub struct Registry {
    tools: Vec<Box<dyn Tool>>,
}

impl Registry {
    /// The tools that come with the program.
    pub fn standard() -> Self {
        Self { tools: vec![Box::new(calculator::Calculator)] }
    }

    /// Adds a tool; one of the same name is replaced.
    pub fn add(&mut self, tool: Box<dyn Tool>) {
        self.tools.retain(|known| known.name() != tool.name());
        self.tools.push(tool);
    }

    /// The tool of that name, spelled exactly.
    pub fn get(&self, name: &str) -> Option<&dyn Tool> {
        self.iter().find(|tool| tool.name() == name)
    }

    /// All tools, in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Tool> {
        self.tools.iter().map(|tool| tool.as_ref())
    }

    /// What a reply may call.
    pub fn forms(&self) -> Vec<ToolForm> {
        self.iter().map(|tool| ToolForm { name: tool.name().into(), input: tool.form() }).collect()
    }
}
