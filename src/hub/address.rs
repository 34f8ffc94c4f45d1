//! Addresses, and what headers have in place of them.

use ureq::http::Uri;

/// An etag without its quotes and mark of weakness.
pub fn bare(etag: String) -> String {
    etag.trim().trim_start_matches("W/").trim_matches('"').to_string()
}

/// What may name a file or a folder of the cache.
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=128).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.')
}

pub fn escape(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

/// `bytes FIRST-LAST/LENGTH` is a part from `first` on of a file of `size` bytes
/// (RFC 9110, 14.4).
pub fn starts_at(range: &str, first: u64, size: u64) -> bool {
    let parts = range.strip_prefix("bytes ").and_then(|range| {
        let (span, length) = range.split_once('/')?;
        Some((span.split_once('-')?.0.parse::<u64>().ok()?, length))
    });
    parts.is_some_and(|(at, length)| at == first && (length == "*" || length.parse() == Ok(size)))
}

pub fn origin(uri: &Uri) -> (Option<&str>, Option<String>, u16) {
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(default);
    (uri.scheme_str(), uri.host().map(str::to_ascii_lowercase), port)
}

/// Where a redirect leads (RFC 3986, 5.2, without dots).
pub fn join(from: &Uri, location: &str) -> String {
    let scheme = from.scheme_str().unwrap_or("https");
    let host = from.authority().map(|host| host.as_str()).unwrap_or_default();
    if location.contains("://") {
        location.into()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{host}{folder}/{location}")
    }
}

/// On this machine: nothing here is reached through a proxy.
pub fn is_here(endpoint: &str) -> bool {
    let uri: Option<Uri> = endpoint.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_say() {
        let from: Uri = "http://a:1/b/c?d".parse().expect("an address");
        for (location, to) in [
            ("https://x/y", "https://x/y"),
            ("//x/y", "http://x/y"),
            ("/y?z", "http://a:1/y?z"),
            ("y", "http://a:1/b/y"),
        ] {
            assert_eq!(join(&from, location), to);
        }
    }

    #[test]
    fn parts_of_files_are_those_asked_for() {
        for range in ["bytes 5-9/10", "bytes 5-9/*"] {
            assert!(starts_at(range, 5, 10), "{range}");
        }
        for range in ["", "bytes */10", "bytes 6-9/10", "bytes 5-9/11", "lines 5-9/10"] {
            assert!(!starts_at(range, 5, 10), "{range}");
        }
    }

    #[test]
    fn names_from_outside_stay_inside() {
        assert!(is_name(&bare("W/\"abc-1\"".into())));
        for etag in ["", "..", ".x", "a/b", "a\\b", "a b", "ü"] {
            assert!(!is_name(etag), "{etag}");
        }
        assert_eq!(escape("a b/ü%.gguf"), "a%20b/%C3%BC%25.gguf");
    }
}
