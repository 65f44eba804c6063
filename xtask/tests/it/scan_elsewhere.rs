//! R1 and R12 for what scanners ask elsewhere: a data base that does not answer, answers nonsense, or is too old
//! proves nothing, and neither does a service that refuses the key.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::guarded::Guarded;
use super::scan_broken::{assert_did_not_run, own_tools, script};
use super::support::repository;
use xtask::verdict::Verdict;

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn vulnerabilities_that_cannot_be_looked_up() {
    let guarded = Guarded::new();
    let project = &guarded.project;
    let only = |profile: &str| project.xtask(&["ci", "--profile", profile, "--only", "scan/deps-3.12,scan/shell"]);
    let length = "Content-Type: application/json\r\nConnection: close\r\nContent-Length";
    for (answer, words) in [
        (format!("HTTP/1.1 500 Internal Server Error\r\n{length}: 0\r\n\r\n"), "pip-audit exit code 1"),
        (format!("HTTP/1.1 200 OK\r\n{length}: 6\r\n\r\n<html>"), "pip-audit exit code 1"),
        (format!("HTTP/1.1 200 OK\r\n{length}: 16\r\n\r\n{{\"vulns\": [{{\"id\""), "pip-audit exit code 1"),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\n{}".to_owned(), "exit code 1"),
    ] {
        guarded.osv.breaks(&answer);
        assert_did_not_run(&only("local"), "scan/deps-3.12", words);
    }
    // It accepts, and says nothing for longer than there is time.
    guarded.osv.breaks("");
    project.edit("ci/pipeline.toml", "[dependencies]", "[dependencies]\ntimeout = \"2s\"");
    assert_did_not_run(&only("local"), "scan/deps-3.12", "pip-audit timed out after 2 s");
    project.edit("ci/pipeline.toml", "timeout = \"2s\"", "timeout = \"1m\"");
    // A data base elsewhere that does not answer is excused in `offline`, where it is listed for exactly that.
    let listed = |reason: &str| {
        format!(
            "[policy]\nbase = [\"main\"]\n\n[profiles.offline]\nunreachable = [{{ gate = \"scan/deps-3.12\", reason = \"{reason}\" }}]"
        )
    };
    let reason = format!("{NOBODY} does not answer");
    project.edit("ci/pipeline.toml", &format!("osv = \"{}\"", guarded.osv.url()), &format!("osv = \"{NOBODY}\""));
    project.edit("ci/pipeline.toml", "[policy]\nbase = [\"main\"]", &listed(&reason));
    for profile in ["local", "actions"] {
        let ran = project.xtask(&["ci", "--profile", profile, "--only", "scan/deps-3.12,scan/bandit"]);
        assert_did_not_run(&ran, "scan/deps-3.12", &reason);
        assert_eq!(ran.gate("scan/deps-3.12").reason, reason);
    }
    let ran = only("offline");
    ran.assert_code(0);
    assert_eq!((ran.gate("scan/deps-3.12").verdict, ran.gate("scan/deps-3.12").required), (Verdict::DidNotRun, false));
    project.edit("ci/pipeline.toml", &reason, &format!("{reason}s"));
    assert_did_not_run(&only("offline"), "scan/deps-3.12", &reason);
    // What the list does not say is not excused: an answer that cannot be read, a scanner that crashed.
    let url = guarded.osv.url();
    project.edit("ci/pipeline.toml", &format!("osv = \"{NOBODY}\""), &format!("osv = \"{url}\""));
    project.edit("ci/pipeline.toml", &format!("{reason}s"), &format!("{url} does not answer"));
    guarded.osv.breaks(&format!("HTTP/1.1 500 Internal Server Error\r\n{length}: 0\r\n\r\n"));
    assert_did_not_run(&only("offline"), "scan/deps-3.12", "pip-audit exit code 1");
}

#[test]
fn advisories_that_are_too_old_or_cannot_be_had() {
    let guarded = Guarded::new();
    let project = &guarded.project;
    let run = || project.xtask(&["ci", "--no-cache", "--only", "scan/rustsec"]);
    run().assert_code(0);
    // A lock that names nothing proves nothing.
    project.write("Cargo.lock", "version = 4\n");
    assert_did_not_run(&run(), "scan/rustsec", "did no work: 0 packages");
    project.git(&["checkout", "-q", "--", "Cargo.lock"]);
    guarded.publish(
        "crates/itoa/RUSTSEC-2026-0002.md",
        "```toml\n[advisory]\nid = \"RUSTSEC-2026-0002\"\npackage =\n```\n",
    );
    assert_did_not_run(&run(), "scan/rustsec", "the advisories cannot be read");
    guarded.publish("crates/itoa/RUSTSEC-2026-0002.md", "half of an advis");
    assert_did_not_run(&run(), "scan/rustsec", "the advisories cannot be read");
    guarded.age_advisories("2020-01-01T00:00:00");
    assert_did_not_run(&run(), "scan/rustsec", "of 2020-01-01, older than 7 days (policy.database_max_age)");
    let folder = guarded.advisories();
    std::fs::remove_dir_all(folder.join("crates")).unwrap();
    guarded.publish("README.md", "moved\n");
    assert_did_not_run(&run(), "scan/rustsec", "the advisories cannot be read");
    guarded.publish("crates/README.md", "nothing yet\n");
    assert_did_not_run(&run(), "scan/rustsec", "the data base holds no advisory");
    std::fs::remove_dir_all(folder.join(".git")).unwrap();
    assert!(Command::new("git").args(["init", "-q"]).current_dir(&folder).status().unwrap().success());
    assert_did_not_run(&run(), "scan/rustsec", "the data base of advisories has no date");
    std::fs::remove_dir_all(&folder).unwrap();
    let ran = run();
    assert_did_not_run(&ran, "scan/rustsec", "cannot be cloned");
    assert_eq!(ran.gate("scan/rustsec").reason, format!("file://{} cannot be cloned", folder.display()));
}

/// A server on loopback that answers everything with this.
pub fn server(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while matches!(reader.read_line(&mut line), Ok(1..)) && !line.trim().is_empty() {
                line.clear();
            }
            let _gone = stream.write_all(&answer);
        }
    });
    url
}

/// Every file below a folder that holds these words.
fn holding(folder: &Path, words: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let found = entries.flat_map(|path| {
        if path.is_dir() {
            return holding(&path, words);
        }
        let bytes = std::fs::read(&path).unwrap();
        if String::from_utf8_lossy(&bytes).contains(words) { vec![path] } else { vec![] }
    });
    found.collect()
}

#[test]
fn a_service_that_refuses_the_key_or_does_not_answer() {
    const KEY: &str = "gg-key-that-nobody-may-see-4711";
    let mut guarded = Guarded::new();
    let plan = guarded.project.xtask(&["scan", "secrets", "--dry-run"]);
    plan.assert_code(0);
    assert!(plan.stdout.contains("scan/secrets") && !plan.stdout.contains("scan/ggshield"), "{}", plan.stdout);
    // As GitGuardian answers a key that it does not know.
    let refusing = server(
        b"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 29\r\n\r\n\
         {\"detail\":\"Invalid API key.\"}"
            .to_vec(),
    );
    let project = &mut guarded.project;
    project.set("GITGUARDIAN_API_KEY", KEY);
    project.set("NO_PROXY", "127.0.0.1");
    project.set("GITGUARDIAN_INSTANCE", NOBODY);
    // ggshield tries for seventeen seconds, in which the other run is done.
    let args = |out| ["ci", "--no-cache", "--only", "scan/ggshield", "--out", out];
    let unanswered =
        project.command(&args("target/unanswered")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    project.set("GITGUARDIAN_INSTANCE", refusing);
    let ran = project.xtask(&args("target/refused"));
    assert_did_not_run(&ran, "scan/ggshield", "GitGuardian refuses the key");
    let fix = "set a valid GITGUARDIAN_API_KEY, or unset it";
    assert_eq!(ran.gate("scan/ggshield").fix, fix);
    assert!(!ran.stdout.contains(KEY) && !ran.stderr.contains(KEY), "{}{}", ran.stdout, ran.stderr);
    let ended = unanswered.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(20));
    assert!(![ended.stdout, ended.stderr].iter().any(|said| String::from_utf8_lossy(said).contains(KEY)));
    let report: xtask::model::Report = serde_json::from_str(&project.read("target/unanswered/report.json")).unwrap();
    assert_eq!(report.gates[0].verdict, Verdict::DidNotRun);
    assert_eq!(report.gates[0].reason, "GitGuardian does not answer");
    for folder in ["target/refused", "target/unanswered", "target/xtask/cache", "target/xtask/scan"] {
        let folder = project.path().join(folder);
        assert_eq!(if folder.is_dir() { holding(&folder, KEY) } else { vec![] }, Vec::<PathBuf>::new());
    }
}

#[test]
fn a_data_base_of_trivy_that_is_too_old_or_cannot_be_had() {
    let mut guarded = Guarded::new();
    let project = &mut guarded.project;
    project.edit("ci/pipeline.toml", "[dependencies]", "[dependencies]\ntrivy = [\"locks\"]");
    project.write("tools/archives.toml", "");
    own_tools(project);
    project.xtask(&["tools", "install", "trivy"]).assert_code(0);
    for name in ["HTTPS_PROXY", "https_proxy"] {
        project.set(name, NOBODY);
    }
    let run = || project.xtask(&["ci", "--no-cache", "--only", "scan/trivy"]);
    let ran = run();
    // The list of the profile `offline` has the reason to the letter.
    let config = std::fs::read_to_string(repository().join("xtask/config/pipeline.toml")).unwrap();
    let config: toml::Table = toml::from_str(&config).unwrap();
    let listed = config["profiles"]["offline"]["unreachable"].as_array().unwrap().iter();
    let reason = |id: &str| listed.clone().find(|entry| entry["gate"].as_str() == Some(id)).unwrap()["reason"].as_str();
    assert_did_not_run(&ran, "scan/trivy", reason("scan/trivy").unwrap());
    assert_eq!(Some(ran.gate("scan/trivy").reason.as_str()), reason("scan/trivy"));
    let osv = config["dependencies"]["osv"].as_str().unwrap();
    assert_eq!(reason("scan/deps-3.12").unwrap(), format!("{osv} does not answer"));
    // In Trivy's own words, as far as they are read.
    let trivy = project.path().join("target/xtask/tools/repackaged/bin/trivy");
    let answers = |version: &str, report: &str, code: i32| {
        let text = "#!/bin/sh\nif [ \"$1\" = version ]; then echo \"VERSION\"; else echo 'REPORT'; exit CODE; fi\n";
        let text = text.replace("VERSION", &version.replace('"', "\\\""));
        script(&trivy, &text.replace("REPORT", report).replace("CODE", &code.to_string()));
        run()
    };
    let of =
        |date: &str| format!(r#"{{"Version": "0.76.0", "VulnerabilityDB": {{"Version": 2, "UpdatedAt": "{date}"}}}}"#);
    let new = of("$(date -u +%Y-%m-%dT%H:%M:%SZ)");
    let clean = r#"{"SchemaVersion": 2, "Results": [{"Target": "tests.txt", "Packages": [{"Name": "idna", "Version": "3.20"}]}]}"#;
    let found = r#"{"Results": [{"Target": "tests.txt", "Packages": [{"Name": "idna"}], "Vulnerabilities": [{"VulnerabilityID": "CVE-2026-1", "PkgName": "idna", "InstalledVersion": "3.20", "Severity": "HIGH"}]}]}"#;
    answers(&new, clean, 0).assert_code(0);
    assert_eq!(answers(&new, found, 9).assert_code(10).gate("scan/trivy").verdict, Verdict::Fail);
    let nothing = r#"{"SchemaVersion": 2, "Results": []}"#;
    for (version, report, code, words) in [
        (
            of("2020-01-01T00:00:00Z").as_str(),
            clean,
            0,
            "the data base is of 2020-01-01, older than 7 days (policy.database_max_age)",
        ),
        (&of("2020-01-01T00:00:00Z"), found, 9, "the data base is of 2020-01-01"),
        (r#"{"Version": "0.76.0"}"#, clean, 0, "trivy does not say how old its data base is"),
        ("", clean, 0, "its report cannot be read"),
        (&new, nothing, 0, "did no work: trivy found no package in `locks`"),
        (&new, "", 0, "its report cannot be read"),
        (&new, found, 0, "trivy exit code 0, which its report contradicts"),
        (&new, clean, 9, "trivy exit code 9, which its report contradicts"),
        (&new, &clean[..50], 0, "its report cannot be read"),
        (&new, "", 1, "trivy exit code 1"),
    ] {
        assert_did_not_run(&answers(version, report, code), "scan/trivy", words);
    }
}
