//! Where the hub is, where its files are kept, and who asks: the environment
//! variables of Hugging Face's own tools, which share the same cache.
//! <https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>

use std::env;
use std::fmt::{self, Debug, Formatter};
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::error::HubError;

/// What the environment says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The hub's address, without a slash at its end (HF_ENDPOINT).
    pub endpoint: String,
    /// The folder of repositories (HF_HUB_CACHE, else `hub` in HF_HOME).
    pub cache: PathBuf,
    /// From HF_TOKEN, else from the token file.
    pub token: Option<Token>,
    /// Where it was found: a variable's name, or the token file's path.
    pub token_from: Option<String>,
    /// Where a token is kept between sessions (HF_TOKEN_PATH, else `token` in HF_HOME).
    pub token_file: PathBuf,
    /// Ask nobody (HF_HUB_OFFLINE).
    pub offline: bool,
}

/// A secret: it is sent to the hub and shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl Debug for Token {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Settings {
    /// Reads the environment and the token file.
    ///
    /// # Errors
    /// There is no home folder to keep files in, the address or the token
    /// cannot be one, or the token file cannot be read.
    pub fn from_env() -> Result<Self, HubError> {
        // As everywhere in these tools, an empty variable is one that is not set.
        Self::from(|name| env::var(name).ok().filter(|value| !value.trim().is_empty()))
    }

    /// The same from any source of variables.
    pub fn from(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let folder = |name: &str| variable(name).map(|path| expand(&path));
        let home = match (folder("HF_HOME"), folder("XDG_CACHE_HOME"), dirs::home_dir()) {
            (Some(home), ..) => home,
            (None, Some(cache), _) => cache.join("huggingface"),
            (None, None, Some(home)) => home.join(".cache").join("huggingface"),
            (None, None, None) => {
                let why = "there is no home folder to keep models in: set HF_HOME to a folder";
                return Err(HubError::Setting(why.into()));
            }
        };
        let cache = folder("HF_HUB_CACHE").or_else(|| folder("HUGGINGFACE_HUB_CACHE"));
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let given = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
            .into_iter()
            .find_map(|name| Some((name.to_string(), variable(name)?)));
        let (token, from) = match given {
            Some((name, token)) => (Some(clean(&token, &name)?), name),
            None => (saved(&token_file)?, token_file.display().to_string()),
        };
        let token_from = token.is_some().then_some(from);
        let offline = variable("HF_HUB_OFFLINE")
            .is_some_and(|value| ["1", "on", "yes", "true"].contains(&&*value.to_lowercase()));
        Ok(Self {
            endpoint: address(variable("HF_ENDPOINT"))?,
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token,
            token_from,
            token_file,
            offline,
        })
    }
}

/// A path that may start with the home folder's sign.
pub fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix('~'), dirs::home_dir()) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with(['/', '\\']) => home.join(&rest[1..]),
        _ => path.into(),
    }
}

fn address(given: Option<String>) -> Result<String, HubError> {
    let Some(given) = given else { return Ok("https://huggingface.co".into()) };
    let address = given.trim().trim_end_matches('/');
    let host = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['@', '?', '#', ' ']) => {
            Ok(address.into())
        }
        _ => Err(HubError::Setting(format!(
            "HF_ENDPOINT is {given:?}: it has to be an address such as https://huggingface.co"
        ))),
    }
}

fn saved(file: &PathBuf) -> Result<Option<Token>, HubError> {
    match fs::read_to_string(file) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => clean(&text, &file.display().to_string()).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HubError::io("read", file)(error)),
    }
}

/// A token without the line end it was pasted with.
fn clean(text: &str, source: &str) -> Result<Token, HubError> {
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Token(text.into()));
    }
    // Not its text: it is a secret all the same.
    Err(HubError::Setting(format!("the token in {source} has characters that no token has")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        Settings::from(|name| {
            variables.iter().find(|known| known.0 == name).map(|known| known.1.to_string())
        })
    }

    #[test]
    fn folders_follow_the_environment() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().display().to_string();
        let plain = settings(&[("HF_HOME", &path)]).expect("settings");
        assert_eq!((plain.cache, plain.token), (home.path().join("hub"), None));
        assert_eq!((plain.endpoint.as_str(), plain.offline), ("https://huggingface.co", false));
        let other = settings(&[
            ("HF_HOME", &path),
            ("HF_HUB_CACHE", "/elsewhere"),
            ("HF_ENDPOINT", "http://localhost:8080/"),
            ("HF_HUB_OFFLINE", "True"),
        ]);
        let other = other.expect("settings");
        assert_eq!(other.cache, Path::new("/elsewhere"));
        assert_eq!((other.endpoint.as_str(), other.offline), ("http://localhost:8080", true));
        let cache = settings(&[("XDG_CACHE_HOME", &path)]).expect("settings");
        assert_eq!(cache.cache, home.path().join("huggingface").join("hub"));
    }

    #[test]
    fn a_token_is_found_and_never_shown() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().display().to_string();
        fs::write(home.path().join("token"), "hf_saved\n").expect("written");
        let saved = settings(&[("HF_HOME", &path)]).expect("settings");
        assert_eq!(saved.token, Some(Token("hf_saved".into())));
        let given = settings(&[("HF_HOME", &path), ("HF_TOKEN", " hf_given ")]).expect("settings");
        assert_eq!(given.token.as_ref().map(Token::secret), Some("hf_given"));
        assert!(!format!("{given:?}").contains("hf_given"));
        let error = settings(&[("HF_HOME", &path), ("HF_TOKEN", "hf one\ntwo")]);
        assert!(!error.expect_err("no token").to_string().contains("hf one"));
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for address in ["huggingface.co", "ftp://x", "https://", "http://user@host", "http://a b"] {
            assert!(settings(&[("HF_HOME", "/x"), ("HF_ENDPOINT", address)]).is_err(), "{address}");
        }
    }
}
