//! Server-sent events, read as they come: bytes → events. Pure, and bounded by the bytes that it is given.
//!
//! After <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>: lines end with
//! CR, LF or both, an empty line dispatches, an event without data is none, and what no empty line ends is dropped.

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The field `event`, empty where it is not there.
    pub name: String,
    /// The fields `data`, joined by line feeds.
    pub data: String,
}

/// The events of one stream so far.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// Those that are whole.
    pub all: Vec<Event>,
    line: Vec<u8>,
    name: String,
    data: Option<String>,
    after_cr: bool,
    begun: bool,
}

impl Events {
    /// The events of a whole body.
    pub fn of(body: &[u8]) -> Self {
        let mut events = Self::default();
        events.push(body);
        events
    }

    /// Takes the next bytes, wherever they are cut, and gives the number of events that they made whole.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let before = self.all.len();
        for &byte in bytes {
            let is_second_half = self.after_cr && byte == b'\n';
            self.after_cr = byte == b'\r';
            match byte {
                b'\n' if is_second_half => {}
                b'\n' | b'\r' => self.end_line(),
                _ => self.line.push(byte),
            }
        }
        self.all.len() - before
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        // One byte order mark may stand before the first line.
        let line = if self.begun { &line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) };
        self.begun = true;
        let line = String::from_utf8_lossy(line);
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            self.all.extend(self.data.take().map(|data| Event { name, data }));
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match (field, &mut self.data) {
            ("event", _) => value.clone_into(&mut self.name),
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", data @ None) => *data = Some(value.to_owned()),
            // Comments (nothing before the colon), `id`, `retry`, and what nobody knows.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    #[test]
    fn lines_and_fields_are_read_as_the_standard_says() {
        for (text, expected) in [
            ("data: a\n\n", vec![event("", "a")]),
            ("data:a\r\rdata: b\r\n\r\n", vec![event("", "a"), event("", "b")]),
            ("\u{feff}data: a\n\n", vec![event("", "a")]),
            ("event: x\ndata: a\ndata:  b\n\n", vec![event("x", "a\n b")]),
            ("event: lost\n\ndata: a\n\n", vec![event("", "a")]),
            (": comment\nid: 3\nretry: 5\nodd\n\n", vec![]),
            ("data\n\n", vec![event("", "")]),
            ("data: a\n", vec![]),
        ] {
            assert_eq!(Events::of(text.as_bytes()).all, expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_changes_nothing(text in "(data: ?[a-z€]{0,4}|event: error|:|)(\n|\r|\r\n){1,3}(data: z(\r\n\r\n|\n\n|))?", at in 0usize..40) {
            let bytes = text.as_bytes();
            let (left, right) = bytes.split_at(at.min(bytes.len()));
            let mut cut = Events::default();
            let counted = cut.push(left) + cut.push(right);
            prop_assert_eq!(&cut.all, &Events::of(bytes).all);
            prop_assert_eq!(counted, cut.all.len());
        }
    }
}
