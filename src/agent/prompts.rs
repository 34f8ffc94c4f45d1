//! The words the model is given: templates compiled in, each of which a
//! folder can override.

use std::path::Path;

use anyhow::{Context, Result, bail};
use minijinja::{Environment, UndefinedBehavior, context};
use sha2::{Digest, Sha256};

use super::event::Stop;
use super::step::Why;
use crate::chat::reply::FINAL_ANSWER;
use crate::tool::Registry;

/// Every template by the name of its file, as shipped.
const SHIPPED: [(&str, &str); 5] = [
    ("system.jinja", include_str!("../../prompts/system.jinja")),
    ("reminder.jinja", include_str!("../../prompts/reminder.jinja")),
    ("unreadable.jinja", include_str!("../../prompts/unreadable.jinja")),
    ("unknown_tool.jinja", include_str!("../../prompts/unknown_tool.jinja")),
    ("last.jinja", include_str!("../../prompts/last.jinja")),
];

/// The templates of an agent's prompts. An undefined name in one is an error.
#[derive(Clone)]
pub struct Prompts {
    templates: Environment<'static>,
}

impl Prompts {
    /// The prompts that come with the program.
    pub fn shipped() -> Self {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        for (name, source) in SHIPPED {
            templates.add_template(name, source).expect("the shipped templates compile");
        }
        Self { templates }
    }

    /// The shipped prompts, each replaced by the file of its name in `folder`
    /// where there is one.
    ///
    /// # Errors
    /// A folder that cannot be read or holds no template, a file that is none
    /// of the templates, or one that does not compile or render.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        let mut prompts = Self::shipped();
        let mut found = false;
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("cannot read the prompts folder {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "jinja") {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let source = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read the prompt {}", path.display()))?;
            prompts = prompts.with(&name, source)?;
            found = true;
        }
        if !found {
            bail!("the prompts folder {} holds none of: {}", folder.display(), names());
        }
        // Undefined names show when a template is rendered: do so before a model needs it.
        let tools = Registry::standard();
        prompts.system(&tools)?;
        prompts.reminder()?;
        prompts.unreadable(Why::NoObject)?;
        prompts.unknown_tool("Oracle", &tools)?;
        prompts.last(Stop::Steps)?;
        Ok(prompts)
    }

    /// These prompts with the template `name` replaced.
    pub fn with(mut self, name: &str, source: impl Into<String>) -> Result<Self> {
        let Some((name, _)) = SHIPPED.iter().find(|(known, _)| *known == name) else {
            bail!("there is no prompt named {name}; the prompts are: {}", names());
        };
        self.templates
            .add_template_owned(*name, source.into())
            .with_context(|| format!("the prompt {name} is not a valid template"))?;
        Ok(self)
    }

    /// The system message: the role, the contract, the tools, worked exchanges.
    pub fn system(&self, tools: &Registry) -> Result<String> {
        let tools: Vec<_> = tools
            .iter()
            .map(|tool| context! { name => tool.name(), usage => tool.usage() })
            .collect();
        self.render("system.jinja", context! { tools, final_answer => FINAL_ANSWER })
    }

    /// What each turn repeats, because without it a model forgets the format.
    pub fn reminder(&self) -> Result<String> {
        self.render("reminder.jinja", context! { final_answer => FINAL_ANSWER })
    }

    /// What the model is told of a reply that could not be read.
    pub fn unreadable(&self, why: Why) -> Result<String> {
        let why = why.to_string();
        self.render("unreadable.jinja", context! { why, final_answer => FINAL_ANSWER })
    }

    /// What the model is told when it calls a tool that does not exist.
    pub fn unknown_tool(&self, tool: &str, tools: &Registry) -> Result<String> {
        let tools: Vec<_> = tools.iter().map(|tool| tool.name().to_string()).collect();
        self.render("unknown_tool.jinja", context! { tool, tools, final_answer => FINAL_ANSWER })
    }

    /// What the model is told before the last completion of a turn.
    pub fn last(&self, why: Stop) -> Result<String> {
        self.render("last.jinja", context! { why => why.to_string(), final_answer => FINAL_ANSWER })
    }

    /// SHA-256, in hexadecimal, of all that a model is told with the standard
    /// tools: the rendered system message and the source of every other template.
    pub fn hash(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.system(&Registry::standard())?);
        for (name, _) in &SHIPPED[1..] {
            hash.update([0]);
            hash.update(self.templates.get_template(name)?.source());
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn render(&self, name: &str, values: minijinja::Value) -> Result<String> {
        let text = self
            .templates
            .get_template(name)
            .and_then(|template| template.render(values))
            .with_context(|| format!("cannot render the prompt {name}"))?;
        Ok(text.trim().to_string())
    }
}

fn names() -> String {
    SHIPPED.map(|(name, _)| name).join(", ")
}
