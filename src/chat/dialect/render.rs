//! Chat templates of model files: Jinja as the transformers library renders it.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use super::date;

/// Steps of a template before it is given up: far more than any needs for a
/// dozen messages, and done in an instant.
const FUEL: u64 = 1_000_000;

/// One message of a conversation.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub role: &'static str,
    pub content: String,
}

/// A template, with what it may call.
pub(super) struct Renderer<'a> {
    templates: Environment<'a>,
    bos: &'a str,
    eos: &'a str,
}

impl<'a> Renderer<'a> {
    /// # Errors
    /// The template does not compile.
    pub(super) fn new(source: &'a str, bos: &'a str, eos: &'a str) -> Result<Self, Error> {
        let mut templates = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?;
        templates.set_syntax(syntax);
        templates.set_fuel(Some(FUEL));
        // Templates call the methods that Python's strings and lists have.
        templates.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        templates.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        // As transformers has it: what is no HTML is not escaped for HTML.
        templates.add_filter("tojson", |value: &Value, indent: Option<Value>, args: Kwargs| {
            match value.as_str() {
                Some(text) => Ok(Value::from(serde_json::Value::from(text).to_string())),
                None => minijinja::filters::tojson(value, indent, args),
            }
        });
        // The same in every rendering, or a prompt would change at midnight.
        let now = date::now();
        templates.add_function("strftime_now", move |form: String| {
            date::format(now, &form).ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidOperation,
                    format!("the date form {form:?} is unknown"),
                )
            })
        });
        templates.add_template("chat", source)?;
        Ok(Self { templates, bos, eos })
    }

    /// The messages as the template writes them; with `generate`, up to where
    /// the model's next message begins.
    ///
    /// # Errors
    /// The template cannot be rendered, or refuses such a conversation.
    pub(super) fn render(&self, messages: &[Message], generate: bool) -> Result<String, Error> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| context! { role => message.role, content => message.content.clone() })
            .collect();
        self.templates.get_template("chat")?.render(context! {
            messages,
            add_generation_prompt => generate,
            bos_token => self.bos,
            eos_token => self.eos,
            tools => (),
            documents => (),
        })
    }
}
