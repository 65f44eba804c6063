//! The log of a container as it grows, one line at a time.

use super::{Trouble, refused, unreachable};

/// A longer line is told in pieces.
const LONGEST: usize = 1 << 20;

/// An open log.
#[derive(Debug)]
pub struct Lines {
    response: reqwest::Response,
    buffer: Vec<u8>,
    is_over: bool,
}

impl Lines {
    pub(super) async fn open(request: reqwest::RequestBuilder) -> Result<Self, Trouble> {
        // Nothing may be said for long: silence alone ends it, and whoever reads asks again.
        let response = request.timeout(std::time::Duration::from_secs(24 * 3600)).send().await;
        let mut response = response.map_err(|e| unreachable(&e))?;
        if response.status().is_success() {
            return Ok(Self { response, buffer: Vec::new(), is_over: false });
        }
        let code = response.status().as_u16();
        let body = response.chunk().await.ok().flatten().unwrap_or_default();
        Err(refused(code, &body))
    }

    /// The next line without its end, as it is; `None` when the container has ended or was silent for a while.
    pub async fn next(&mut self) -> Result<Option<String>, Trouble> {
        loop {
            if let Some(line) = take(&mut self.buffer, self.is_over) {
                return Ok(Some(line));
            }
            if self.is_over {
                return Ok(None);
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => self.is_over = true,
                Err(error) if error.is_timeout() => self.is_over = true,
                Err(error) => return Err(unreachable(&error)),
            }
        }
    }
}

/// A whole line, a piece of one that is too long, or at the end what is left.
fn take(buffer: &mut Vec<u8>, is_over: bool) -> Option<String> {
    let end = buffer.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
    let end = end.or((buffer.len() >= LONGEST || is_over && !buffer.is_empty()).then_some(buffer.len()))?;
    let line: Vec<u8> = buffer.drain(..end).collect();
    let line = String::from_utf8_lossy(&line);
    Some(line.strip_suffix('\n').unwrap_or(&line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once_it_is_whole() {
        let mut buffer = b"one\n\ntwo".to_vec();
        let mut all = |is_over| std::iter::from_fn(|| take(&mut buffer, is_over)).collect::<Vec<_>>();
        assert_eq!(all(false), ["one", ""]);
        assert_eq!(all(true), ["two"]);
        let mut long = vec![b'x'; LONGEST];
        assert_eq!(take(&mut long, false).map(|line| line.len()), Some(LONGEST));
    }
}
