//! Server-sent events (the WHATWG HTML standard, section 9.2): the data of each
//! event, from bytes that are split anywhere.

/// Collects bytes and gives out the data of whole events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Bytes of a line that has not ended.
    line: Vec<u8>,
    /// The data lines of an event that has not ended.
    data: Option<String>,
    /// The last byte was a carriage return: a line feed after it ends nothing.
    returned: bool,
}

/// Longer events are not collected: a token with its particulars is far shorter.
const LONGEST: usize = 4 << 20;

/// An event is longer than any that makes sense.
#[derive(Debug)]
pub(super) struct TooLong;

impl Events {
    /// Adds bytes and returns the data of the events that are complete now.
    /// Comments and fields other than `data` are passed over.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.returned, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > LONGEST {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    /// An empty line ends an event.
    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.data.take();
        }
        let line = String::from_utf8_lossy(&line);
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        if field == "data" {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.into()),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_they_are_split() {
        let text = ": ping\n\ndata: {\"é\": \"🦙\"}\r\n\r\nevent: x\rdata:a\rdata: b\r\rid\ndata\n\n\
                    data: [DONE]\n\ndata: unfinished";
        let expected = ["{\"é\": \"🦙\"}", "a\nb", "", "[DONE]"];
        for size in 1..=text.len() {
            let mut events = Events::default();
            let found: Vec<String> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|bytes| events.push(bytes).expect("short events"))
                .collect();
            assert_eq!(found, expected, "pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut events = Events::default();
        assert!((0..80).any(|_| events.push(&[b'x'; 64 << 10]).is_err()));
    }
}
