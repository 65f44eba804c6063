//! Where the load goes: a URL, and the requests of the configuration as they are sent there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http_body_util::Full;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};

use crate::config::Request;

pub use super::wire::Sent;

/// The place that is put under load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As it was given, without a slash at the end.
    pub url: String,
    /// Over TLS.
    pub is_tls: bool,
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What stands before every path.
    base: String,
    authority: String,
}

/// One request of the mix.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name in the configuration.
    pub name: String,
    /// What is expected of its answers.
    pub request: Request,
    /// As it is sent.
    pub sent: Sent,
}

impl Target {
    /// `http://HOST:PORT/BASE`. The error is a sentence fragment.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{url}` {why}, and has to be like `http://127.0.0.1:8000`");
        let uri: Uri = url.parse().map_err(|_| wrong("is no URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("is neither http nor https")),
        };
        let authority = uri.authority().filter(|a| !a.host().is_empty()).ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err("a URL with a password in it would be in every report; use a header of the request".to_owned());
        }
        if uri.query().is_some() {
            return Err(wrong("has a query"));
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            is_tls,
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            base: uri.path().trim_end_matches('/').to_owned(),
            authority: authority.as_str().to_owned(),
        })
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.parse::<IpAddr>().map_or(self.host == "localhost", |address| address.is_loopback())
    }

    /// Every request of a mix, in the order of the names; the error names the request that cannot be sent.
    pub fn routes(
        &self,
        mix: &BTreeMap<String, u32>,
        requests: &BTreeMap<String, Request>,
    ) -> Result<Vec<Route>, String> {
        let route = |name: &String| {
            let request = requests.get(name).ok_or_else(|| format!("no request is named `{name}`"))?;
            let sent = self.sent(request).map_err(|why| format!("requests.{name}: {why}"))?;
            Ok(Route { name: name.clone(), request: request.clone(), sent })
        };
        mix.keys().map(route).collect()
    }

    fn sent(&self, request: &Request) -> Result<Sent, String> {
        let json = request.json.as_ref().map(serde_json::to_string).transpose().map_err(|e| e.to_string())?;
        let is_json = json.is_some();
        let body = json.or_else(|| request.text.clone()).unwrap_or_default();
        let path = format!("{}{}", self.base, request.path());
        let mut sent = hyper::Request::builder()
            .method(request.method())
            .uri(path)
            .header(HOST, &self.authority)
            .header(USER_AGENT, concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")));
        if is_json {
            sent = sent.header(CONTENT_TYPE, "application/json");
        }
        let mut sent = sent.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())?;
        for (name, value) in &request.headers {
            let name: HeaderName = name.parse().map_err(|_| format!("`{name}` is no name of a header"))?;
            let value: HeaderValue = value.parse().map_err(|_| format!("the header `{name}` has no valid value"))?;
            sent.headers_mut().insert(name, value);
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_or_refused() {
        for (url, host, port, loopback) in [
            ("http://127.0.0.1:8000", "127.0.0.1", 8000, true),
            ("http://[::1]:8000/", "::1", 8000, true),
            ("http://localhost/api/", "localhost", 80, true),
            ("https://forge.example", "forge.example", 443, false),
            ("http://10.0.0.1:80", "10.0.0.1", 80, false),
            ("http://localhost.example", "localhost.example", 80, false),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!((target.host.as_str(), target.port, target.is_loopback()), (host, port, loopback), "{url}");
        }
        for url in ["127.0.0.1:8000", "ftp://a", "http://", "/x", "http://a?b=c", "http://u:p@a"] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_request_is_sent_as_the_configuration_has_it() {
        let text = "send = \"POST /chat\"\njson = { a = 1 }\nheaders = { \"X-Mine\" = \"yes\", \"Content-Type\" = \"application/x\" }";
        let requests = BTreeMap::from([("chat".to_owned(), toml::from_str(text).unwrap())]);
        let target = Target::parse("http://127.0.0.1:8000/v1/").unwrap();
        let routes = target.routes(&BTreeMap::from([("chat".to_owned(), 1)]), &requests).unwrap();
        let sent = &routes[0].sent;
        assert_eq!((sent.method().as_str(), sent.uri().to_string()), ("POST", "/v1/chat".to_owned()));
        assert_eq!(sent.headers()["host"], "127.0.0.1:8000");
        assert_eq!(
            (&sent.headers()["x-mine"], &sent.headers()["content-type"]),
            (&HeaderValue::from_static("yes"), &HeaderValue::from_static("application/x"))
        );
        assert!(target.routes(&BTreeMap::from([("nobody".to_owned(), 1)]), &requests).is_err());
    }
}
