//! Downloading a file so that nothing can go wrong with it unnoticed: what is
//! here is kept and gone on from, whoever else wants it waits, and it has its
//! name only when its length and checksum are right.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use ureq::Error;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG};

use super::RemoteFile;
use super::address::starts_at;
use super::client::{Client, text, unreachable};
use super::error::HubError;
use super::part::{PIECE, Part};
use super::place::{Cache, Place};

/// What happens during a download.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another process downloads the same file.
    Waiting,
    /// So many bytes are here.
    Bytes(u64),
    /// It broke off, and is tried again after a while.
    Again { why: String, after: Duration },
    /// What was pieced together is not the file: from the start, once.
    Anew { why: String },
}

/// Downloads a file, or finds it here, and returns where it is.
pub fn fetch(
    client: &Client,
    cache: &Cache,
    file: &RemoteFile,
    watch: &mut dyn FnMut(Event),
) -> Result<PathBuf, HubError> {
    let place = cache.place(file);
    let _lock = place.lock(|| watch(Event::Waiting))?;
    if !place.blob.is_file() {
        download(client, &place, file, watch)?;
    }
    place.link()
}

fn download(
    client: &Client,
    place: &Place,
    file: &RemoteFile,
    watch: &mut dyn FnMut(Event),
) -> Result<(), HubError> {
    let mut part = Part::open(&place.incomplete, &file.etag, file.size)?;
    let mut once = false;
    loop {
        fill(client, file, &mut part, watch)?;
        match part.difference() {
            None => return part.finish(&place.blob),
            // An earlier process, another program or a server that changed its
            // mind may have left what does not belong together.
            Some(why) if part.pieced && !once => {
                once = true;
                watch(Event::Anew { why });
                part.restart(None)?;
            }
            Some(why) => {
                part.remove()?;
                let (file, endpoint) = (file.path.clone(), client.settings.endpoint.clone());
                return Err(HubError::Damaged { file, why, endpoint });
            }
        }
    }
}

/// Gets all the bytes that are not here, in as many requests as it takes.
fn fill(
    client: &Client,
    file: &RemoteFile,
    part: &mut Part,
    watch: &mut dyn FnMut(Event),
) -> Result<(), HubError> {
    watch(Event::Bytes(part.len()));
    let (mut failures, mut furthest) = (0, part.len());
    while part.len() < file.size {
        let why = match request(client, file, part, watch) {
            Ok(()) if part.len() == file.size => break,
            Ok(()) => "the connection ended early".to_string(),
            Err(error @ (HubError::Unreachable { .. } | HubError::Status { .. })) => {
                error.to_string()
            }
            Err(error) => return Err(error),
        };
        // A server that always breaks off at the same place gets nowhere.
        if part.len() > furthest {
            (failures, furthest) = (0, part.len());
        }
        failures += 1;
        if failures >= client.patience.tries {
            let (have, size) = (part.len(), file.size);
            return Err(HubError::Unfinished { file: file.path.clone(), have, size, why });
        }
        let after = client.patience.wait(failures);
        watch(Event::Again { why, after });
        std::thread::sleep(after);
    }
    Ok(())
}

/// One request for the rest of the file.
fn request(
    client: &Client,
    file: &RemoteFile,
    part: &mut Part,
    watch: &mut dyn FnMut(Event),
) -> Result<(), HubError> {
    let from = part.len();
    let reply = client.get(file, from, part.validator())?;
    let header = |name: &str| text(&reply.headers, name);
    match reply.status {
        206 if header(CONTENT_RANGE.as_str())
            .is_some_and(|range| starts_at(&range, from, file.size)) =>
        {
            part.pieced = true;
        }
        // The whole file, because ranges are not served or it is another one now.
        200 => part.restart(header(ETAG.as_str()))?,
        // Another part than what was asked for, or none: without a range the
        // next answer is the whole.
        _ => return part.restart(None),
    }
    let room = file.size - part.len();
    if let Some(sent) = header(CONTENT_LENGTH.as_str()).and_then(|sent| sent.parse::<u64>().ok())
        && sent > room
    {
        let why =
            format!("the hub gave it {} bytes, and {} are sent", file.size, sent + part.len());
        let endpoint = client.settings.endpoint.clone();
        return Err(HubError::Damaged { file: file.path.clone(), why, endpoint });
    }
    let mut body = reply.body.into_reader().take(room);
    let mut piece = vec![0; PIECE.min(room as usize)];
    loop {
        match body.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                part.append(&piece[..read])?;
                watch(Event::Bytes(part.len()));
            }
            Err(error) => return Err(unreachable(&client.settings.endpoint, &Error::Io(error))),
        }
    }
}
