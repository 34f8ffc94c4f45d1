//! An engine elsewhere: a server with an OpenAI-compatible interface.
//!
//! The prompt is written here, in the dialect and as token ids where the server
//! takes them; the server continues it, streamed; where the reply ends is
//! decided here, as for a model in this process. What a server offers beyond
//! the interface is used where it is known: a grammar for the form of replies,
//! the ids of what it wrote, a count of tokens.

mod address;
mod body;
mod call;
mod chunk;
mod client;
mod error;
mod events;
mod key;
mod plain;
mod reply;
mod server;
mod vocabulary;

use std::time::{Duration, Instant};

use self::address::Address;
use self::call::{Heard, Next};
use self::chunk::Chunk;
use self::client::Client;
use self::events::Events;
use self::reply::Reply;
use self::server::Server;
use self::vocabulary::{Theirs, Vocabulary};
use super::{Completion, End, Llm, LlmError, Request, Stats};
use crate::chat::{Cancel, Prompt};
use crate::llama::Tokenizer;

pub use self::client::Patience;
pub use self::error::RemoteError;
pub use self::key::{ApiKey, BadKey};

/// What is wanted of an engine elsewhere.
#[derive(Default)]
pub struct Wanted<'a> {
    /// The model, if the server has several.
    pub model: Option<&'a str>,
    pub key: Option<ApiKey>,
    /// The vocabulary of the model, if it is known here.
    pub tokenizer: Option<Tokenizer>,
    /// Tokens that fit: no more than this.
    pub context: Option<usize>,
    pub patience: Patience,
}

/// An engine elsewhere.
pub struct Remote {
    client: Client,
    server: Server,
    vocabulary: Vocabulary,
    context: usize,
    offer: Offer,
}

/// What a request offers that a server may not take.
#[derive(Clone, Copy)]
struct Offer {
    /// The prompt as token ids, not as text.
    ids: bool,
    /// A grammar that keeps the reply to its form.
    form: bool,
}

impl Offer {
    /// The next best, after a refusal.
    fn less(self, server: &Server) -> Option<Self> {
        match self {
            Self { form: true, .. } => Some(Self { form: false, ..self }),
            Self { ids: true, .. } if server.kind == server::Kind::Other => {
                Some(Self { ids: false, ..self })
            }
            _ => None,
        }
    }
}

impl Remote {
    /// Finds out what is at `http(s)://host[:port][/path]`.
    ///
    /// # Errors
    /// Nothing is there, or no engine; it wants a key; it has several models
    /// and none was named; it does not say what fits or how to count.
    pub fn open(address: &str, wanted: Wanted) -> Result<Self, RemoteError> {
        let client = Client::new(Address::parse(address)?, wanted.key, wanted.patience);
        let server = Server::discover(&client, wanted.model)?;
        let context = match (server.context, wanted.context) {
            (Some(context), Some(limit)) => context.min(limit),
            (Some(context), None) | (None, Some(context)) => context,
            (None, None) => return Err(RemoteError::ContextUnknown { at: client.at() }),
        };
        let vocabulary = match wanted.tokenizer {
            Some(tokenizer) => Vocabulary::Ours(Box::new(tokenizer)),
            None => Vocabulary::Theirs(Theirs::new(&client, &server)?),
        };
        let offer = Offer { ids: server.kind.takes_ids(), form: server.kind.takes_form() };
        Ok(Self { client, server, vocabulary, context, offer })
    }

    /// The same engine; without `form`, it may write what it likes.
    pub fn with_form(mut self, form: bool) -> Self {
        self.offer.form &= form;
        self
    }

    /// One request with what `offer` says, again where that may help.
    fn attempt<'a>(
        &self,
        request: &'a Request,
        offer: Offer,
        watch: &mut dyn FnMut(&str),
    ) -> Result<(Reply<'a>, End, Stats), LlmError> {
        let written = self.vocabulary.write(&self.client, request.prompt, offer.ids);
        let written = written.map_err(engine)?;
        let needed = written.tokens.saturating_add(request.max_new_tokens);
        if needed > self.context {
            return Err(LlmError::DoesNotFit { needed, context: self.context });
        }
        let body = body::body(&self.server, written.prompt, request, offer.form);
        let start = Instant::now();
        let mut first = None;
        let mut reply = Reply::new(request.form, request.max_new_tokens);
        let heard = self.client.patiently(request.cancel, || {
            self.listen(&body, request.cancel, &mut |chunk| {
                let end = reply.push(chunk, watch);
                if first.is_none() && reply.begun() {
                    first = Some(start.elapsed());
                }
                (end, reply.begun())
            })
        });
        let end = match heard {
            Ok(end) => end,
            Err(_) if request.cancel.is_set() => End::Cancelled,
            Err(error) => return Err(engine(error)),
        };
        let prefill = first.unwrap_or_else(|| start.elapsed());
        let stats = Stats {
            prompt: written.tokens,
            reused: reply.reused.min(written.tokens),
            produced: reply.produced(),
            prefill,
            decode: start.elapsed().saturating_sub(prefill),
            ..Stats::default()
        };
        Ok((reply, end, stats))
    }

    /// Sends a request and listens until the reply ends. `take` gets each piece
    /// and says whether it ends the reply, and whether the reply has begun.
    /// Leaving this closes the connection.
    fn listen(
        &self,
        body: &serde_json::Value,
        cancel: &Cancel,
        take: &mut dyn FnMut(&Chunk) -> (Option<End>, bool),
    ) -> Result<End, RemoteError> {
        let (client, patience) = (&self.client, &self.client.patience);
        let call = client.call(client.address.place("completions"), body);
        let mut events = Events::default();
        let (mut begun, mut stopped) = (false, None);
        let broke = |begun, why: String| match begun {
            true => RemoteError::Cut { at: client.at(), why },
            false => RemoteError::Broke { at: client.at(), why },
        };
        let unreadable = |why: &str| RemoteError::Unreadable { at: client.at(), why: why.into() };
        loop {
            let limit: Duration = if begun { patience.between } else { patience.first };
            let bytes = match call.next(limit, cancel) {
                Next::Cancelled => return Ok(End::Cancelled),
                Next::Late => {
                    return Err(RemoteError::Silent { at: client.at(), seconds: limit.as_secs() });
                }
                Next::Heard(Heard::Bytes(bytes)) => bytes,
                Next::Heard(Heard::Refused(answer)) => return Err(client.refusal(&answer)),
                Next::Heard(Heard::Ended) => {
                    return stopped.ok_or_else(|| broke(begun, "it ended early".into()));
                }
                Next::Heard(Heard::Broke(error)) => match (stopped, client.transport(&error)) {
                    (Some(end), _) => return Ok(end),
                    (None, RemoteError::Broke { why, .. }) => return Err(broke(begun, why)),
                    (None, other) => return Err(other),
                },
            };
            for data in events.push(&bytes).map_err(|_| unreadable("an event without end"))? {
                if data == "[DONE]" {
                    return Ok(stopped.unwrap_or(End::Turn));
                }
                let chunk = Chunk::parse(&data).ok_or_else(|| unreadable("an event is no JSON"))?;
                if let Some(said) = &chunk.error {
                    let (at, said) = (client.at(), client.hide(said));
                    return Err(RemoteError::Unreadable { at, why: said });
                }
                stopped = chunk.end.or(stopped);
                let end;
                (end, begun) = take(&chunk);
                if let Some(end) = end {
                    return Ok(end);
                }
            }
        }
    }
}

impl Llm for Remote {
    fn complete(
        &mut self,
        request: &Request,
        watch: &mut dyn FnMut(&str),
    ) -> Result<Completion, LlmError> {
        let mut offer = self.offer;
        loop {
            match self.attempt(request, offer, watch) {
                Ok((reply, end, stats)) => {
                    // What it did not take now it will not take later.
                    self.offer = offer;
                    let encode = |text: &str| self.vocabulary.encode(&self.client, text);
                    return Ok(Completion { reply: reply.finish(encode, watch), end, stats });
                }
                Err(error) => match offer.less(&self.server) {
                    Some(less) if is_refusal(&error) => offer = less,
                    _ => return Err(error),
                },
            }
        }
    }

    /// Nothing: the engine may be others' too, and its time theirs.
    fn prepare(&mut self, _prompt: &Prompt, _cancel: &Cancel) -> Result<(), LlmError> {
        Ok(())
    }

    fn count(&self, prompt: &Prompt) -> Result<usize, LlmError> {
        let written = self.vocabulary.write(&self.client, prompt, self.offer.ids);
        Ok(written.map_err(engine)?.tokens)
    }

    fn context(&self) -> usize {
        self.context
    }
}

fn engine(error: RemoteError) -> LlmError {
    LlmError::Engine(error.into())
}

fn is_refusal(error: &LlmError) -> bool {
    match error {
        LlmError::Engine(error) => {
            error.downcast_ref().is_some_and(|error: &RemoteError| error.is_refusal())
        }
        _ => false,
    }
}
