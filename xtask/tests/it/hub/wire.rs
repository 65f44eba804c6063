//! What a client sends.

use std::collections::BTreeMap;

use serde_json::Value;

use super::REPOSITORY;

/// One request.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Who asks, where several do: the number in a base address like `http://127.0.0.1:1/m3`.
    pub who: Option<usize>,
    pub method: String,
    /// Relative to the repository.
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

/// One request, as far as its sender sent it.
pub fn read(reader: &mut impl std::io::BufRead) -> Option<Asked> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|count| *count > 0)?;
    let mut asked = Asked::default();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        asked.headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = asked.headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    asked.body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut words = first.split(' ');
    asked.method = words.next()?.to_owned();
    let (path, query) = words.next()?.split_once('?').map_or((first.split(' ').nth(1)?, ""), |both| both);
    let (who, path) = path.split_once("/repos/").map_or(("", path), |(who, _)| (who, &path[who.len()..]));
    asked.who = who.strip_prefix("/m").and_then(|number| number.parse().ok());
    asked.path = path.strip_prefix(&format!("/repos/{REPOSITORY}")).unwrap_or(path).trim_start_matches('/').to_owned();
    asked.query = query.split('&').filter_map(|pair| pair.split_once('=')).map(own).collect();
    Some(asked)
}

/// Without `%XX`.
pub fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
