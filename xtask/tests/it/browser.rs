//! A real browser, driven over the DevTools protocol (<https://chromedevtools.github.io/devtools-protocol/>).
//!
//! It speaks on the descriptors 3 and 4, a message up to each zero byte, so that no port is opened.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// The names that it has.
const PROGRAMS: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// One browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    last: u64,
    /// What the page complained about: exceptions, errors and warnings, refusals of its policy.
    pub complaints: Vec<String>,
    /// Events that nobody has waited for yet.
    events: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` where the machine has none, which is said.
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            let mut stderr = std::io::stderr();
            // Not captured: it has to be seen in the output of a green run.
            stderr.write_all(b"NOT RUN: a test of a page needs chromium, which this machine lacks\n").unwrap();
            return None;
        };
        let profile = tempfile::Builder::new().prefix("browser").tempdir().unwrap();
        // `sh` gives the pipes of its own input and output the numbers that the browser expects.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>&2"])
            .arg(program)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"])
            .args(["--hide-scrollbars", "--remote-debugging-pipe", "--window-size=1280,900"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut browser = Self {
            child,
            to,
            from,
            session: String::new(),
            last: 0,
            complaints: vec![],
            events: vec![],
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Opens a file, with what comes after `#`, and waits until it is loaded.
    pub fn open(&mut self, page: &Path, fragment: &str) {
        // Another fragment of the same page would load nothing.
        self.navigate("about:blank");
        self.navigate(&format!("file://{}{fragment}", page.display()));
    }

    fn navigate(&mut self, url: &str) {
        self.events.clear();
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert_eq!(answer["errorText"], Value::Null, "{url}");
        while !self.events.iter().any(|event| event == "Page.loadEventFired") {
            self.read();
        }
    }

    /// The value of an expression.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", asked);
        assert_eq!(answer["exceptionDetails"], Value::Null, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Presses a key and lets it go.
    pub fn press(&mut self, key: &str, code: u32) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// One command of the protocol.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.read();
            if answer["id"] == json!(self.last) {
                assert_eq!(answer["error"], Value::Null, "{method}");
                return answer["result"].clone();
            }
        }
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "the browser is gone");
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        if let Some(event) = message["method"].as_str() {
            self.events.push(event.to_owned());
            let params = &message["params"];
            let bad = match event {
                "Runtime.exceptionThrown" => true,
                "Runtime.consoleAPICalled" => {
                    ["error", "warning", "assert"].contains(&params["type"].as_str().unwrap())
                }
                "Log.entryAdded" => ["error", "warning"].contains(&params["entry"]["level"].as_str().unwrap()),
                _ => false,
            };
            if bad {
                self.complaints.push(params.to_string());
            }
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    PROGRAMS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}
