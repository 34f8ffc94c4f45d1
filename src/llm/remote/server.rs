//! What is known of the engine at an address: which program it is, which model
//! it serves, and how many tokens fit.

use serde_json::Value;

use super::client::Client;
use super::error::RemoteError;

/// The programs whose own ways are known. What one takes beyond the
/// OpenAI-compatible interface is in their documentation: llama.cpp's
/// `tools/server/README.md`, vLLM's "OpenAI-Compatible Server", SGLang's
/// "Sampling Parameters", the OpenAPI description of Text Generation Inference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    LlamaCpp,
    Vllm,
    Sglang,
    Tgi,
    Other,
}

impl Kind {
    /// A prompt may be token ids.
    pub fn takes_ids(self) -> bool {
        self != Self::Tgi
    }

    /// A reply may be kept to a grammar.
    pub fn takes_form(self) -> bool {
        matches!(self, Self::LlamaCpp | Self::Vllm | Self::Sglang)
    }
}

/// An engine elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub kind: Kind,
    pub model: String,
    /// Tokens that fit, where it says so.
    pub context: Option<usize>,
}

impl Server {
    /// Asks what is there, and for the model of that name, or the only one.
    pub fn discover(client: &Client, name: Option<&str>) -> Result<Self, RemoteError> {
        let listed = client.get(&client.address.place("models")).map_err(|error| match error {
            RemoteError::Refused { status, .. } => {
                client.not_an_engine(&format!("status {status}"))
            }
            other => other,
        })?;
        let models = listed["data"].as_array().map_or(&[][..], Vec::as_slice);
        if models.iter().all(|model| !model["id"].is_string()) {
            return Err(client.not_an_engine("it lists no model"));
        }
        let model = choose(client, models, name)?;
        let id = model["id"].as_str().unwrap_or_default().to_string();
        let mut server =
            Self { kind: Kind::Other, model: id, context: number(model, "max_model_len") };
        server.kind = match model["owned_by"].as_str() {
            Some("llamacpp") => Kind::LlamaCpp,
            Some("vllm") => Kind::Vllm,
            Some("sglang") => Kind::Sglang,
            _ => Kind::Other,
        };
        if matches!(server.kind, Kind::LlamaCpp | Kind::Other) {
            server.look_further(client);
        }
        Ok(server)
    }

    /// Looks at places that only one program has. That it has none is no error.
    fn look_further(&mut self, client: &Client) {
        if let Ok(props) = client.get(&client.address.beside("props"))
            && let Some(context) = number(&props["default_generation_settings"], "n_ctx")
        {
            (self.kind, self.context) = (Kind::LlamaCpp, Some(context));
        } else if self.kind == Kind::Other
            && let Ok(info) = client.get(&client.address.beside("info"))
            && let Some(context) = number(&info, "max_total_tokens")
        {
            (self.kind, self.context) = (Kind::Tgi, Some(context));
        }
    }
}

fn number(value: &Value, key: &str) -> Option<usize> {
    value[key].as_u64().and_then(|number| usize::try_from(number).ok()).filter(|number| *number > 0)
}

/// The model of that name, or the only one.
fn choose<'a>(
    client: &Client,
    models: &'a [Value],
    name: Option<&str>,
) -> Result<&'a Value, RemoteError> {
    let known = || {
        let names = models.iter().filter_map(|model| model["id"].as_str());
        client.hide(&names.take(20).collect::<Vec<_>>().join(", "))
    };
    match (name, models) {
        (Some(name), _) => {
            let named = |model: &&Value| {
                let aliases = model["aliases"].as_array().map_or(&[][..], Vec::as_slice);
                model["id"] == name || aliases.iter().any(|alias| alias == name)
            };
            models.iter().find(named).ok_or_else(|| RemoteError::NoSuchModel {
                at: client.at(),
                name: name.into(),
                known: known(),
            })
        }
        (None, [model]) => Ok(model),
        (None, _) => Err(RemoteError::SeveralModels { at: client.at(), known: known() }),
    }
}
