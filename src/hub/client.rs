//! Talking to the hub: HTTP, redirects, and what its answers mean.
//!
//! Redirects are followed here and not by the library: the first answer of
//! several has what the hub says of a file, and the token must not travel to
//! the host that a redirect leads to.

use std::io::Read;
use std::ops::Range;
use std::time::Duration;

use serde_json::Value;
use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION};
use ureq::http::{HeaderMap, Method, Request, Uri};
use ureq::{Agent, Body, Error};

use super::address::{bare, escape, is_here, is_name, join, origin, starts_at};
use super::error::HubError;
use super::names::{Repo, is_inside};
use super::patience::Patience;
use super::settings::Settings;
use super::{Listing, RemoteFile};

/// The branch that is pulled.
const REVISION: &str = "main";
const REDIRECTS: usize = 10;

/// A hub and who asks it.
pub struct Client {
    agent: Agent,
    pub settings: Settings,
    pub patience: Patience,
}

/// An answer, its body not yet read.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Body,
    /// Who answered in the end.
    url: String,
    /// What the hub said on the way: the commit that was meant.
    commit: Option<String>,
}

impl Client {
    pub fn new(settings: Settings, patience: Patience) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("llama-agent/", env!("CARGO_PKG_VERSION")))
            // Lengths and ranges are of the file, not of a packed form of it.
            .accept_encoding("identity")
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)));
        if is_here(&settings.endpoint) {
            config = config.proxy(None);
        }
        Self { agent: config.build().into(), settings, patience }
    }

    /// What the hub says of a file: its size, content and commit.
    pub fn look(&self, repo: &Repo, path: &str) -> Result<RemoteFile, HubError> {
        let url = self.resolve(repo, REVISION, path);
        self.patience.insist(|| {
            let reply = self.send(&Method::HEAD, &url, &[])?;
            if reply.status >= 400 {
                return Err(self.refusal(&reply, repo, Some(path)));
            }
            let header = |linked: &str, plain: &str| {
                text(&reply.headers, linked).or_else(|| text(&reply.headers, plain))
            };
            let etag = header("x-linked-etag", ETAG.as_str()).map(bare);
            let etag = etag.filter(|etag| is_name(etag));
            let size = header("x-linked-size", CONTENT_LENGTH.as_str());
            let size = size.and_then(|size| size.parse().ok());
            let commit = reply.commit.clone().filter(|commit| is_name(commit));
            match (etag, size, commit) {
                (Some(etag), Some(size), Some(commit)) => {
                    Ok(RemoteFile { repo: repo.clone(), path: path.into(), commit, etag, size })
                }
                _ => Err(HubError::Strange {
                    url: url.clone(),
                    why: "no etag, length or commit of the file is in it".into(),
                }),
            }
        })
    }

    /// The files of a repository.
    pub fn list(&self, repo: &Repo) -> Result<Listing, HubError> {
        let endpoint = &self.settings.endpoint;
        let url = format!("{endpoint}/api/models/{repo}/revision/{REVISION}?blobs=true");
        self.patience.insist(|| {
            let mut reply = self.send(&Method::GET, &url, &[])?;
            if reply.status != 200 {
                return Err(self.refusal(&reply, repo, None));
            }
            // Of the largest repositories it has a few megabytes.
            let body = reply.body.with_config().limit(64 << 20).read_to_string();
            let body = body.map_err(|error| unreachable(&url, &error))?;
            listing(&body).ok_or_else(|| HubError::Strange {
                url: url.clone(),
                why: "it is no list of files".into(),
            })
        })
    }

    /// Asks for a file's bytes from `from` on; `validator` is the etag that
    /// what is here already was served with.
    pub fn get(
        &self,
        file: &RemoteFile,
        from: u64,
        validator: Option<&str>,
    ) -> Result<Reply, HubError> {
        let url = self.resolve(&file.repo, &file.commit, &file.path);
        let mut headers = Vec::new();
        if from > 0 {
            headers.push(("range", format!("bytes={from}-")));
            headers.extend(validator.map(|etag| ("if-range", etag.to_string())));
        }
        let reply = self.send(&Method::GET, &url, &headers)?;
        match reply.status {
            200 | 206 | 416 => Ok(reply),
            _ => Err(self.refusal(&reply, &file.repo, Some(&file.path))),
        }
    }

    /// Some of a file's bytes, at least one; None if no parts of it are served.
    pub fn piece(&self, file: &RemoteFile, part: Range<u64>) -> Result<Option<Vec<u8>>, HubError> {
        let url = self.resolve(&file.repo, &file.commit, &file.path);
        let range = format!("bytes={}-{}", part.start, part.end.saturating_sub(1));
        let length = part.end.saturating_sub(part.start);
        self.patience.insist(|| {
            let reply = self.send(&Method::GET, &url, &[("range", range.clone())])?;
            match reply.status {
                206 => {}
                200 | 416 => return Ok(None),
                _ => return Err(self.refusal(&reply, &file.repo, Some(&file.path))),
            }
            let served = text(&reply.headers, CONTENT_RANGE.as_str());
            if !served.is_some_and(|served| starts_at(&served, part.start, file.size)) {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            let read = reply.body.into_reader().take(length).read_to_end(&mut bytes);
            read.map_err(|error| unreachable(&url, &Error::Io(error)))?;
            if bytes.len() as u64 == length {
                return Ok(Some(bytes));
            }
            Err(unreachable(&url, &Error::Io(std::io::ErrorKind::UnexpectedEof.into())))
        })
    }

    fn resolve(&self, repo: &Repo, revision: &str, path: &str) -> String {
        format!("{}/{repo}/resolve/{revision}/{}", self.settings.endpoint, escape(path))
    }

    /// Follows redirects, but with a HEAD none that says what file it leads to.
    fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, String)],
    ) -> Result<Reply, HubError> {
        let (mut url, mut commit) = (url.to_string(), None);
        for _ in 0..=REDIRECTS {
            let strange = |why: &str| HubError::Strange { url: url.clone(), why: why.into() };
            let uri: Uri = url.parse().map_err(|_| strange("it is no address"))?;
            let mut request = Request::builder().method(method).uri(&uri);
            for (name, value) in headers {
                request = request.header(*name, value);
            }
            if let Some(token) = &self.settings.token
                && self.is_hub(&uri)
            {
                request = request.header(AUTHORIZATION, format!("Bearer {}", token.secret()));
            }
            let request = request.body(()).map_err(|error| strange(&error.to_string()))?;
            let response = self.agent.run(request).map_err(|error| unreachable(&url, &error))?;
            let (parts, body) = response.into_parts();
            let status = parts.status.as_u16();
            commit = commit.or_else(|| text(&parts.headers, "x-repo-commit"));
            let known = method == Method::HEAD && parts.headers.contains_key("x-linked-etag");
            let next = text(&parts.headers, LOCATION.as_str());
            match next {
                Some(next) if matches!(status, 301 | 302 | 303 | 307 | 308) && !known => {
                    let next = join(&uri, &next);
                    if uri.scheme_str() == Some("https") && !next.starts_with("https://") {
                        return Err(strange("it leads away from https"));
                    }
                    url = next;
                }
                _ => return Ok(Reply { status, headers: parts.headers, body, url, commit }),
            }
        }
        Err(HubError::Strange { url, why: "it leads in circles".into() })
    }

    /// The address is the hub's own, down to scheme and port.
    fn is_hub(&self, uri: &Uri) -> bool {
        let hub: Option<Uri> = self.settings.endpoint.parse().ok();
        hub.is_some_and(|hub| origin(&hub) == origin(uri))
    }

    fn refusal(&self, reply: &Reply, repo: &Repo, path: Option<&str>) -> HubError {
        let Settings { endpoint, token, token_file, .. } = &self.settings;
        let (repo, endpoint) = (repo.to_string(), endpoint.clone());
        let code = text(&reply.headers, "x-error-code").unwrap_or_default();
        let hub = reply.url.parse().is_ok_and(|uri| self.is_hub(&uri));
        match (reply.status, code.as_str(), path) {
            (401 | 403 | 404, "RepoNotFound", _) | (404, _, None) if hub => {
                HubError::NoRepo { repo, endpoint, token_file: token_file.clone() }
            }
            (401 | 403, ..) if hub => HubError::Gated {
                repo,
                sent: match token {
                    Some(_) => "and the token that was sent does not open it",
                    None => "and no token was sent",
                },
                endpoint,
                token_file: token_file.clone(),
            },
            (404, _, Some(path)) => HubError::NoFile { repo, file: path.into(), endpoint },
            (status, ..) => {
                let said = text(&reply.headers, "x-error-message");
                let said = said.map(|said| format!(": {said}")).unwrap_or_default();
                // A signed address has a key in its query.
                let url = reply.url.split('?').next().unwrap_or_default().into();
                HubError::Status { url, status, said }
            }
        }
    }
}

/// A header's value, if it is text.
pub fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_string())
}

/// A failure of the connection, in words.
pub fn unreachable(url: &str, error: &Error) -> HubError {
    let uri = url.parse::<Uri>();
    let host = uri.as_ref().ok().and_then(Uri::host).unwrap_or(url).to_string();
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    let passing = match error {
        Error::HostNotFound | Error::ConnectionFailed | Error::Rustls(_) | Error::Tls(_) => false,
        Error::Io(error) => !refused(error),
        Error::Timeout(_) | Error::Protocol(_) | Error::BodyStalled => true,
        _ => false,
    };
    let why = match error {
        Error::HostNotFound => "no such host: is this machine online?".into(),
        Error::ConnectionFailed => "cannot be reached: is this machine online?".into(),
        Error::Io(error) => format!("cannot be reached or stopped answering ({error})"),
        other => other.to_string(),
    };
    HubError::Unreachable { host, why, passing }
}

fn listing(body: &str) -> Option<Listing> {
    let value: Value = serde_json::from_str(body).ok()?;
    let mut files = Vec::new();
    for file in value["siblings"].as_array()? {
        let path = file["rfilename"].as_str()?;
        if is_inside(path) {
            files.push((path.to_string(), file["size"].as_u64()));
        }
    }
    Some(Listing { files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_from_outside_stay_inside() {
        let listed =
            listing(r#"{"siblings": [{"rfilename": "../x"}, {"rfilename": "y", "size": 2}]}"#);
        assert_eq!(listed.expect("a list").files, [("y".to_string(), Some(2))]);
    }
}
