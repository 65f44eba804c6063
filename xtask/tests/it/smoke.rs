//! `smoke` against servers that answer as told: what works passes, what lies is found, who is not there proves nothing.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::support::Project;

/// Whole answers by path; a server thread lives as long as the test's process.
fn serve(answers: &'static [(&'static str, &'static str)]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, answers)));
    url
}

fn answer(mut stream: TcpStream, answers: &[(&str, &str)]) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length]).unwrap();
    let path = first.split(' ').nth(1).unwrap_or_default();
    let found = answers.iter().find(|(known, _)| *known == path).map_or("", |(_, answer)| *answer);
    // One that leaves in the middle is no concern of the server's.
    let _gone = stream.write_all(found.as_bytes());
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 15\r\n\r\n{\"status\":\"ok\"}";
const WRONG_BODY: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 17\r\n\r\n{\"status\":\"down\"}";
const STREAMED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {}\n\ndata: [DONE]\n\n";
const CUT: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: {}\n\n";
const REFUSED: &str = "HTTP/1.1 422 Unprocessable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const ACCEPTED: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const MOVED: &str = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

const PYTHON: &str = "[python]\nversions = []\ntools = \"3.12\"\ntools_lock = \"tools.txt\"\n";

const REQUESTS: &str = r#"
[requests.health]
send = "GET /health"
body = { status = "=ok" }

[requests.streamed]
send = "POST /chat"
json = { stream = true }
stream = "[DONE]"

[requests.refused]
send = "POST /wrong"
json = {}
status = 422

[smoke]
requests = ["health", "streamed", "refused"]
"#;

fn project() -> Project {
    let project = Project::bare();
    project.write("xtask/config/pipeline.toml", &format!("{PYTHON}{REQUESTS}"));
    project.write(".gitignore", "/target/\n");
    project.commit();
    project
}

#[test]
fn a_backend_that_does_what_it_should_passes() {
    let url = serve(&[("/health", GOOD), ("/chat", STREAMED), ("/wrong", REFUSED)]);
    let ran = project().xtask(&["smoke", "--url", &url]);
    ran.assert_code(0);
    assert_eq!(ran.gate("smoke").work.count, 3);
}

#[test]
fn what_answers_wrongly_is_found_with_request_and_instance() {
    let good = serve(&[("/health", GOOD), ("/chat", STREAMED), ("/wrong", REFUSED)]);
    for (rule, fault, answers) in [
        (
            "health",
            "$.status: expected `ok`, found `\"down\"`",
            &[("/health", WRONG_BODY), ("/chat", STREAMED), ("/wrong", REFUSED)] as &'static [_],
        ),
        (
            "health",
            "status 302, expected 200",
            &[("/health", MOVED), ("/chat", STREAMED), ("/wrong", REFUSED), ("/elsewhere", GOOD)],
        ),
        ("health", "did not answer: ", &[("/chat", STREAMED), ("/wrong", REFUSED)]),
        ("streamed", "the stream was cut", &[("/health", GOOD), ("/chat", CUT), ("/wrong", REFUSED)]),
        ("refused", "status 200, expected 422", &[("/health", GOOD), ("/chat", STREAMED), ("/wrong", ACCEPTED)]),
    ] {
        let bad = serve(answers);
        // The other instance works, and does not hide it.
        let ran = project().xtask(&["smoke", "--url", &good, "--url", &bad]);
        let gate = ran.assert_code(10).gate("smoke");
        let [finding] = gate.findings.as_slice() else { panic!("{fault}: {:?}", gate.findings) };
        assert_eq!(finding.rule, rule);
        assert!(finding.message.starts_with(&bad) && finding.message.contains(fault), "{}", finding.message);
        assert_eq!(gate.work.count, 6);
    }
}

#[test]
fn where_nobody_listens_nothing_is_proved() {
    let good = serve(&[("/health", GOOD), ("/chat", STREAMED), ("/wrong", REFUSED)]);
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let ran = project().xtask(&["smoke", "--url", &good, "--url", &nobody]);
    let reason = &ran.assert_code(20).gate("smoke").reason;
    assert!(reason.contains(&format!("`{nobody}` cannot be reached")), "{reason}");
}

#[test]
fn an_environment_and_an_address_are_understood_or_refused() {
    let project = project();
    let url = serve(&[("/health", GOOD), ("/chat", STREAMED), ("/wrong", REFUSED)]);
    project.write("xtask/config/production.toml", &format!("url = \"{url}\"\n"));
    assert_eq!(project.xtask(&["smoke", "prod"]).code, 0);
    for wrong in [&["smoke", "staging"] as &[&str], &["smoke", "--url", "127.0.0.1"], &["smoke", "prod", "--url", "x"]]
    {
        assert_eq!(project.xtask(wrong).code, 2, "{wrong:?}");
    }
}
