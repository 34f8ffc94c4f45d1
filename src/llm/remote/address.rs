//! Where an engine is.

use ureq::http::Uri;

use super::error::RemoteError;

/// The address of an engine's OpenAI-compatible interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// Ends in no slash: `http://host:8000/v1`.
    base: String,
    /// The machine is this one.
    pub loopback: bool,
}

/// What the path of the interface usually is.
const VERSION: &str = "/v1";

impl Address {
    /// Reads `http(s)://host[:port][/path]`. Without a path it is `/v1`.
    pub fn parse(text: &str) -> Result<Self, RemoteError> {
        let bad = |why| RemoteError::Address { address: without_userinfo(text), why };
        let uri: Uri = text.trim().parse().map_err(|_| bad("it cannot be read"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(bad("it must start with http:// or https://"));
        }
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("a key belongs into AGENT_API_KEY, not into the address"));
        }
        if uri.query().is_some() {
            return Err(bad("nothing may follow its path"));
        }
        let path = match uri.path().trim_end_matches('/') {
            "" => VERSION,
            path => path,
        };
        let host = authority.host().trim_matches(['[', ']']);
        let ip = host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        Ok(Self {
            base: format!("{}://{authority}{path}", uri.scheme_str().unwrap_or_default()),
            loopback: ip || host.eq_ignore_ascii_case("localhost"),
        })
    }

    /// As people know it.
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// A place of the OpenAI-compatible interface, such as `models`.
    pub fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }

    /// A place of the engine's own, beside that interface, such as `props`.
    pub fn beside(&self, name: &str) -> String {
        format!("{}/{name}", self.base.strip_suffix(VERSION).unwrap_or(&self.base))
    }
}

/// An address that may be shown, whatever somebody wrote before the host.
fn without_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.into() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_places() {
        for (text, models, props, loopback) in [
            ("http://h:1/v1", "http://h:1/v1/models", "http://h:1/props", false),
            ("https://h/v1/", "https://h/v1/models", "https://h/props", false),
            (
                "http://127.0.0.1:8",
                "http://127.0.0.1:8/v1/models",
                "http://127.0.0.1:8/props",
                true,
            ),
            ("http://[::1]:8/", "http://[::1]:8/v1/models", "http://[::1]:8/props", true),
            (
                "http://localhost/a/v1",
                "http://localhost/a/v1/models",
                "http://localhost/a/props",
                true,
            ),
            ("http://h/api", "http://h/api/models", "http://h/api/props", false),
        ] {
            let address = Address::parse(text).expect(text);
            assert_eq!(address.place("models"), models);
            assert_eq!(address.beside("props"), props);
            assert_eq!(address.loopback, loopback, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_never_shows_a_key() {
        for text in ["http://", "ftp://h/v1", "http://u:secret@h/v1", "http://h/v1?key=x", "h:1"] {
            let error = Address::parse(text).expect_err(text).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
