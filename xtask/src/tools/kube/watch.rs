//! A watch: what happens to the objects of a list, one line of JSON a change.

use serde_json::Value;

use super::{Trouble, refused, unreachable};

/// A change that cannot be told in fewer bytes is none of ours.
const LONGEST: usize = 16 << 20;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An object is there, or is another one than before.
    Seen(Value),
    /// It is gone; this is what it was.
    Gone(Value),
    /// Nothing, up to this version.
    Bookmark(String),
    /// The version is too old: list again.
    Expired,
}

/// An open watch.
#[derive(Debug)]
pub struct Watch {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl Watch {
    pub(super) async fn open(request: reqwest::RequestBuilder) -> Result<Self, Trouble> {
        // The client's own limit of silence does not count here: nothing may happen for long.
        let response = request.timeout(std::time::Duration::from_secs(3600)).send().await;
        let mut response = response.map_err(|e| unreachable(&e))?;
        if response.status().is_success() {
            return Ok(Self { response, buffer: Vec::new() });
        }
        let code = response.status().as_u16();
        let body = response.chunk().await.ok().flatten().unwrap_or_default();
        Err(refused(code, &body))
    }

    /// The next change; `None` when the server has ended the watch, which it does now and then.
    pub async fn next(&mut self) -> Result<Option<Change>, Trouble> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                match change(&line)? {
                    Some(change) => return Ok(Some(change)),
                    None => continue,
                }
            }
            if self.buffer.len() > LONGEST {
                return Err(Trouble::Unreachable("a change is larger than 16 MiB".to_owned()));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                // Silence for the client's patience ends the watch like the server does: who watches asks again.
                Err(error) if error.is_timeout() => return Ok(None),
                Err(error) => return Err(unreachable(&error)),
            }
        }
    }
}

fn change(line: &[u8]) -> Result<Option<Change>, Trouble> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let mut event: Value =
        serde_json::from_slice(line).map_err(|e| Trouble::Unreachable(format!("a change is no JSON: {e}")))?;
    let object = event["object"].take();
    let version = || object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    Ok(Some(match event["type"].as_str() {
        Some("ADDED" | "MODIFIED") => Change::Seen(object),
        Some("DELETED") => Change::Gone(object),
        Some("BOOKMARK") => Change::Bookmark(version()),
        Some("ERROR") if object["code"] == 410 => Change::Expired,
        Some("ERROR") => return Err(refused(500, object.to_string().as_bytes())),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_is_a_change() {
        let of = |value: Value| change(value.to_string().as_bytes());
        let pod = json!({"metadata": {"name": "a", "resourceVersion": "7"}});
        for (event, expected) in [
            (json!({"type": "ADDED", "object": pod}), Some(Change::Seen(pod.clone()))),
            (json!({"type": "MODIFIED", "object": pod}), Some(Change::Seen(pod.clone()))),
            (json!({"type": "DELETED", "object": pod}), Some(Change::Gone(pod.clone()))),
            (json!({"type": "BOOKMARK", "object": pod}), Some(Change::Bookmark("7".to_owned()))),
            (json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}}), Some(Change::Expired)),
            (json!({"type": "LATER"}), None),
        ] {
            assert_eq!(of(event.clone()).unwrap(), expected, "{event}");
        }
        assert_eq!(change(b" \n").unwrap(), None);
        assert!(change(b"{").unwrap_err().is_unreachable());
        let refused = of(json!({"type": "ERROR", "object": {"kind": "Status", "code": 403, "message": "no"}}));
        assert!(refused.is_err());
    }
}
