//! One connection, one request, one answer.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::json;

use super::{COMMIT, Seen, Shared, Ways, etag};

type Headers = Vec<(&'static str, String)>;

pub fn answer(mut stream: TcpStream, shared: &Shared, port: u16) -> io::Result<()> {
    let seen = read(&stream)?;
    let (ways, file, files) = {
        let mut state = shared.state.lock().expect("the state");
        state.seen.push(seen.clone());
        let file =
            name(&seen.path).and_then(|name| Some((name.clone(), state.files.get(&name)?.clone())));
        let files: Vec<(String, usize)> =
            state.files.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect();
        (state.ways.clone(), file, files)
    };
    shared.changed.notify_all();
    let hub = !seen.path.starts_with("/bytes/");
    if let Some((status, code)) = ways.refuses.filter(|_| hub) {
        return head(&mut stream, status, &[("x-error-code", code.into())], 0);
    }
    if let Some(repo) = seen.path.strip_prefix("/api/models/") {
        let repo = repo.split("/revision/").next().unwrap_or_default();
        let inside = |name: &str| Some(name.strip_prefix(repo)?.strip_prefix('/')?.to_string());
        let siblings: Vec<_> = files
            .iter()
            .filter_map(|(name, size)| Some(json!({"rfilename": inside(name)?, "size": size})))
            .collect();
        let body = json!({"sha": COMMIT, "siblings": siblings}).to_string();
        if siblings.is_empty() {
            return head(&mut stream, 404, &[("x-error-code", "RepoNotFound".into())], 0);
        }
        head(&mut stream, 200, &[], body.len() as u64)?;
        return stream.write_all(body.as_bytes());
    }
    let Some((name, bytes)) = file else {
        return head(&mut stream, 404, &[("x-error-code", "EntryNotFound".into())], 0);
    };
    let mut headers = Headers::new();
    if hub {
        headers.push(("x-repo-commit", COMMIT.into()));
        if ways.xet {
            headers.push(("x-xet-hash", "f".repeat(64)));
            headers.push(("link", "<http://127.0.0.1:1/cas>; rel=\"xet-auth\"".into()));
        }
        let claimed = bytes.len().saturating_add_signed(ways.claims as isize);
        if ways.redirects {
            headers.push(("x-linked-etag", format!("\"{}\"", etag(&bytes))));
            headers.push(("x-linked-size", claimed.to_string()));
            // The same machine by another name: another host to who asks.
            headers.push(("location", format!("http://localhost:{port}/bytes/{name}?key=secret")));
            return head(&mut stream, 302, &headers, 0);
        }
        if seen.method == "HEAD" {
            headers.push(("etag", format!("\"{}\"", etag(&bytes))));
            return head(&mut stream, 200, &headers, claimed as u64);
        }
    }
    if ways.holds_until > 0 {
        shared.wait(|state| {
            state.seen.iter().filter(|seen| seen.method == "HEAD").count() >= ways.holds_until
        });
    }
    let drop = shared.state.lock().expect("the state").ways.drops.pop_front();
    body(&mut stream, &seen, &ways, &bytes, headers, drop)
}

/// A file's bytes, or those that were asked for, as far as it goes well.
fn body(
    stream: &mut TcpStream,
    seen: &Seen,
    ways: &Ways,
    bytes: &[u8],
    mut headers: Headers,
    drop: Option<usize>,
) -> io::Result<()> {
    let same = seen.headers.get("if-range").is_none_or(|tag| *tag == ways.tag);
    let from = seen.headers.get("range").filter(|_| ways.ranges && same);
    let span = from.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let span = span.and_then(|(from, to)| {
        // Without an end: to the file's.
        Some((from.parse::<usize>().ok()?, to.parse().unwrap_or(usize::MAX)))
    });
    headers.push(("etag", ways.tag.clone()));
    let (status, part) = match span {
        None => (200, bytes.to_vec()),
        Some((from, _)) if from >= bytes.len() => {
            headers.push(("content-range", format!("bytes */{}", bytes.len())));
            return head(stream, 416, &headers, 0);
        }
        Some((from, to)) => {
            let last = to.min(bytes.len() - 1);
            let from = if ways.shifts { (from + 1).min(last) } else { from };
            headers.push(("content-range", format!("bytes {from}-{last}/{}", bytes.len())));
            (206, bytes[from..=last].to_vec())
        }
    };
    let mut part = part;
    if ways.damages && !part.is_empty() {
        part[0] ^= 1;
    }
    let length = part.len().saturating_add_signed(ways.lies as isize);
    head(stream, status, &headers, length as u64)?;
    let sent = drop.unwrap_or(usize::MAX).min(part.len()).min(length);
    stream.write_all(&part[..sent])
}

fn head(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, String)],
    length: u64,
) -> io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "connection: close\r\n\r\n";
    stream.write_all(text.as_bytes())
}

fn read(stream: &TcpStream) -> io::Result<Seen> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()))?;
    let mut parts = first.split(' ').map(String::from);
    let (method, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        match line.split_once(':') {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
            }
            None => break,
        }
    }
    Ok(Seen { method, path, headers })
}

/// `/owner/repo/resolve/REVISION/PATH` and `/bytes/owner/repo/PATH` are files.
fn name(path: &str) -> Option<String> {
    let path = path.split('?').next()?;
    if let Some(name) = path.strip_prefix("/bytes/") {
        return Some(name.into());
    }
    let (repo, rest) = path.strip_prefix('/')?.split_once("/resolve/")?;
    Some(format!("{repo}/{}", rest.split_once('/')?.1))
}
