//! The house rules, held by a machine: layers, doors to the world, workflows, documents.

use std::path::{Path, PathBuf};

use super::support::repository;

/// Every file that git tracks or would track.
fn files() -> Vec<String> {
    let list = std::process::Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(repository())
        .output()
        .unwrap();
    let text = String::from_utf8(list.stdout).unwrap();
    let files = text.split('\0').filter(|path| !path.is_empty() && repository().join(path).is_file());
    files.map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_default()
}

/// Our source files, with paths relative to `xtask/src`.
fn sources() -> Vec<(String, String)> {
    let ours = files().into_iter().filter(|path| path.starts_with("xtask/src/") && path.ends_with(".rs"));
    ours.map(|path| (path["xtask/src/".len()..].to_owned(), read(&path))).collect()
}

#[track_caller]
fn assert_none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn a_layer_uses_only_those_below_it() {
    let words = ["policy", "verdict", "exit", "text", "disk", "config", "event", "model", "context", "shape", "expect"];
    let layers: [(&str, &[&str]); 14] = [
        ("tools", &["tools"]),
        ("page", &["page"]),
        ("load", &["load", "page"]),
        ("services", &["services", "tools"]),
        ("release", &["release", "services", "load", "tools"]),
        ("history", &["history", "release", "load", "tools"]),
        ("dashboard", &["dashboard", "history", "release", "page"]),
        ("incidents", &["incidents", "tools"]),
        ("monitor", &["monitor", "release", "tools"]),
        ("report", &["report"]),
        ("engine", &["engine", "tools"]),
        (
            "tasks",
            &[
                "tasks",
                "engine",
                "report",
                "dashboard",
                "history",
                "services",
                "release",
                "incidents",
                "monitor",
                "load",
                "tools",
            ],
        ),
        ("cli", &["tasks", "engine", "report", "tools", "cli"]),
        ("", &[]),
    ];
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let top = path.split(['/', '.']).next().unwrap();
        if ["lib", "main"].contains(&top) {
            continue;
        }
        let (_, allowed) = layers.iter().find(|(name, _)| *name == top).unwrap_or(&layers[layers.len() - 1]);
        let code = text.split("#[cfg(test)]").next().unwrap();
        for used in code.split("crate::").skip(1) {
            let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            if !words.contains(&used) && !allowed.contains(&used) && !used.is_empty() {
                broken.push(format!("{path} uses crate::{used}"));
            }
        }
    }
    assert_none("layers that are used from below", broken);
}

#[test]
fn one_file_starts_processes_one_reads_the_environment_one_folder_prints() {
    let mut broken = Vec::new();
    for (path, text) in sources() {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let allows = code.contains("allow(clippy::disallowed_");
        if allows && !["tools/proc.rs", "context.rs"].contains(&path.as_str()) {
            broken.push(format!("{path} opens a door of its own"));
        }
        for word in ["println!", "eprintln!", "print!(", "io::stdout()", "io::stderr()"] {
            if code.contains(word) && !path.starts_with("report/") {
                broken.push(format!("{path} prints by {word}"));
            }
        }
    }
    assert_none("doors", broken);
}

#[test]
fn every_source_file_says_what_it_owns() {
    let silent = files().into_iter().filter(|path| path.ends_with(".rs") && path.starts_with("xtask/"));
    assert_none("files without `//!`", silent.filter(|path| !read(path).starts_with("//!")).collect());
}

#[test]
fn locks_hold_hashes_and_no_host() {
    let locks: Vec<String> =
        files().into_iter().filter(|path| path.contains("requirements/") && path.ends_with(".txt")).collect();
    assert!(locks.len() >= 4, "{locks:?}");
    for path in locks {
        let text = read(&path);
        for line in text.lines() {
            assert!(!line.contains("://") && !line.contains("index-url"), "{path}: {line}");
        }
        let pins = text.lines().filter(|line| line.contains("==")).count();
        let with_hash = text.lines().filter(|line| line.contains("==") && line.ends_with('\\')).count();
        assert!(pins > 0 && pins == with_hash, "{path}: {with_hash} of {pins} pins have hashes");
    }
}

#[test]
fn nothing_names_a_place_of_one_machine() {
    let mut found = Vec::new();
    for path in files().into_iter().filter(|path| !path.ends_with(".lock")) {
        for (index, line) in read(&path).lines().enumerate() {
            let named = ["/root/", "/work/", "/farm/", "/home/"].iter().any(|place| {
                line.match_indices(place).any(|(at, _)| {
                    at == 0 || !line.as_bytes()[at - 1].is_ascii_alphanumeric() && line.as_bytes()[at - 1] != b'}'
                })
            });
            if named && path != "xtask/tests/it/tidy.rs" {
                found.push(format!("{path}:{}: {line}", index + 1));
            }
        }
    }
    assert_none("places of one machine", found);
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut absent = Vec::new();
    for document in files().into_iter().filter(|path| path.ends_with(".md") && !path.starts_with("backend/docs/")) {
        let text = read(&document);
        // Code blocks are examples.
        let prose = text.split("```").step_by(2).collect::<String>();
        for quoted in prose.split('`').skip(1).step_by(2) {
            let path = quoted.trim_end_matches('/').trim_start_matches("./");
            let plain = path.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
            let starts = ["xtask/", "backend/", "docs/", "scripts/", ".github/", ".ci/", "k8s/", ".cargo/"];
            let beside =
                Path::new(&document).parent().is_some_and(|folder| repository().join(folder).join(path).exists());
            let exists = beside || repository().join(path).exists();
            if plain && starts.iter().any(|start| path.starts_with(start)) && !exists {
                absent.push(format!("{document} names `{path}`"));
            }
        }
        for target in prose.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap_or_default()) {
            let folder = Path::new(&document).parent().map(PathBuf::from).unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !repository().join(folder).join(target).exists() {
                absent.push(format!("{document} links to {target}"));
            }
        }
    }
    assert_none("paths that are not there", absent);
}

#[test]
fn every_task_is_documented() {
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_xtask")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    // A description that is wrapped goes on further to the right.
    let lines = commands.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let names: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).filter(|n| *n != "help").collect();
    assert!(names.len() >= 16, "{names:?}");
    let readme = read("README.md");
    assert_none(
        "tasks that README.md does not name",
        names.into_iter().filter(|n| !readme.contains(&format!("cargo xtask {n}"))).map(str::to_owned).collect(),
    );
}

fn workflows() -> Vec<(String, String)> {
    let found: Vec<String> = files().into_iter().filter(|path| path.starts_with(".github/workflows/")).collect();
    assert!(!found.is_empty());
    found.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

#[test]
fn workflows_only_call_the_pipeline() {
    for (path, text) in workflows() {
        for line in text.lines().map(str::trim) {
            if let Some(run) = line.strip_prefix("run:").or(line.strip_prefix("- run:")) {
                let run = run.trim();
                assert!(run.starts_with("cargo xtask "), "{path}: `{run}` is no call of the pipeline");
                assert!(!run.contains("${{"), "{path}: a template expression inside `{run}`");
                // Each is set in the step's own `env:`, and is one argument whatever it holds.
                let variables = [
                    "--only \"$GATE\"",
                    "deploy \"$ENVIRONMENT\"",
                    "rollback \"$ENVIRONMENT\"",
                    "monitor \"$ENVIRONMENT\" \"$KIND\"",
                    "--version \"$VERSION\"",
                ];
                let plain = variables.iter().fold(run.to_owned(), |run, variable| run.replace(variable, ""));
                assert!(!plain.contains(['|', ';', '&', '>', '<', '$', '`', '(']), "{path}: shell in `{run}`");
            }
            assert!(!line.starts_with("continue-on-error"), "{path}: {line}");
        }
    }
}

#[test]
fn actions_are_pinned_by_commit_and_keep_no_credentials() {
    for (path, text) in workflows() {
        // A workflow of this repository is taken at the same commit.
        let used = text.lines().filter(|line| line.contains("uses:"));
        for line in used.filter(|line| !line.trim().starts_with("uses: $/.github/workflows/")) {
            let (pin, version) =
                line.split_once('@').unwrap().1.split_once(" # ").unwrap_or_else(|| panic!("{path}: {line}"));
            assert!(pin.len() == 40 && pin.bytes().all(|b| b.is_ascii_hexdigit()), "{path}: {line}");
            assert!(version.starts_with('v'), "{path}: {line}");
        }
        let checkouts = text.matches("actions/checkout@").count();
        assert_eq!(checkouts, text.matches("persist-credentials: false").count(), "{path}");
    }
}

#[test]
fn the_main_workflow_has_one_required_check_and_least_permissions() {
    let text = read(".github/workflows/forgetm-ci.yml");
    assert!(text.contains("\npermissions: {}\n"));
    assert_eq!(text.matches("pages: write").count(), 1);
    assert_eq!(text.matches("security-events: write").count(), 1);
    let scanning = text.split("\n  code-scanning:").nth(1).unwrap().split("\n  pages:").next().unwrap();
    assert!(scanning.contains("security-events: write") && scanning.contains("if: >-\n      ${{ always()"));
    assert_eq!(text.matches("upload-sarif@").count(), 1);
    let gate = text.split("\n  gate:").nth(1).unwrap().split("\n  self-test:").next().unwrap();
    assert!(gate.contains("fetch-depth: 0"), "a shallow clone has no history to scan");
    let required = text.split("\n  required:").nth(1).unwrap().split("\n  code-scanning:").next().unwrap();
    assert!(required.contains("if: ${{ always() }}"), "the required check has to run whatever happened before");
    assert!(required.contains("cargo xtask ci --merge "));
    assert!(required.contains("NEEDS: ${{ toJSON(needs) }}"));
    let jobs = text.split("\njobs:\n").nth(1).unwrap().lines();
    let names =
        jobs.filter_map(|line| line.strip_prefix("  ")?.strip_suffix(':')).filter(|name| !name.starts_with([' ', '#']));
    for name in names.filter(|name| !["required", "history", "code-scanning", "pages"].contains(name)) {
        assert!(required.contains(name), "the required check does not wait for `{name}`");
    }
    // Only trusted runs write the shared cache (R36): every save has its own condition.
    let saves: Vec<&str> = text.split("- name:").filter(|step| step.contains("actions/cache/save@")).collect();
    assert!(!saves.is_empty());
    for step in saves {
        assert!(step.contains("github.event_name == 'push'"), "{step}");
    }
    assert_eq!(text.matches("actions/cache@").count(), 0, "it saves on pull requests too");
}

#[test]
fn a_release_is_one_at_a_time_and_never_cancelled() {
    let text = read(".github/workflows/forgetm-deploy.yml");
    assert!(text.contains("\npermissions: {}\n"));
    assert!(text.contains("\nconcurrency:\n  group: deploy-${{ inputs.environment }}\n  cancel-in-progress: false\n"));
    // Neither what another run left behind nor what a stranger's pull request says starts one.
    for trigger in ["workflow_run:", "pull_request", "schedule:", "repository_dispatch:"] {
        assert!(!text.lines().any(|line| line.trim_start().starts_with(trigger)), "{trigger}");
    }
    // The environment, and with it the approval, is of the one job that releases; the other one remembers.
    let jobs = text.split("\njobs:\n").nth(1).unwrap().lines();
    let jobs: Vec<&str> =
        jobs.filter(|line| line.starts_with("  ") && !line.starts_with("   ") && !line.starts_with("  #")).collect();
    assert_eq!(jobs, ["  release:", "  history:"]);
    let (release, history) = text.split_once("\n  history:\n").unwrap();
    assert!(release.contains("    environment:\n      name: ${{ inputs.environment }}\n"));
    assert!(!history.contains("environment:\n") && !history.contains("secrets."));
    assert_eq!(text.matches("id-token: write").count(), 1);
    assert_eq!(text.matches("${{ inputs.version }}").count(), 1, "only in `env:`");

    let main = read(".github/workflows/forgetm-ci.yml");
    for (environment, branch) in [("staging", "develop"), ("production", "main")] {
        let job = main.split(&format!("\n  {environment}:\n")).nth(1).unwrap().split("\n\n").next().unwrap();
        let pushed = format!("if: ${{{{ github.event_name == 'push' && github.ref == 'refs/heads/{branch}' }}}}\n");
        assert!(job.contains(&pushed) && job.contains("needs: publish\n"), "{job}");
        assert!(job.contains(&format!("with:\n      environment: {environment}\n")), "{job}");
        // Each variable that the called workflow takes is handed on, and no other.
        for secret in ["KUBECONFIG_DATA", "FORGE_OPENAI_KEYS"] {
            assert!(job.contains(&format!("{secret}: ${{{{ secrets.{secret} }}}}")), "{job}");
            assert!(text.contains(&format!("\n      {secret}:\n        required: false\n")));
        }
        assert!(!job.contains("inherit"), "{job}");
    }
}

#[test]
fn monitoring_works_without_inputs_and_writes_in_one_job_only() {
    let text = read(".github/workflows/forgetm-monitoring.yml");
    assert!(text.contains("\npermissions: {}\n"));
    // Every 6 hours, by the hours that the environments' files name.
    let hours = text.split("cron: \"").nth(1).unwrap().split('"').next().unwrap().split(' ').nth(1).unwrap();
    let hours: Vec<u32> = hours.split(',').map(|hour| hour.parse().unwrap()).collect();
    assert!(hours.len() == 4 && hours.windows(2).all(|two| two[1] - two[0] == 6), "{hours:?}");
    for name in ["staging", "production"] {
        let file: toml::Table = toml::from_str(&read(&format!("xtask/config/{name}.toml"))).unwrap();
        assert_eq!(file["monitor"]["interval"].as_str(), Some("6h"), "{name}");
    }
    // Inputs are empty on a schedule, and what is read of them has a value all the same.
    assert!(text.contains("github.event_name == 'schedule' && '[\"staging\",\"production\"]'"));
    assert!(text.contains("KIND: ${{ inputs.kind || 'all' }}"));
    assert_eq!(text.matches("inputs.").count(), 2, "and nothing else is read of them");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("if:") && line.contains("inputs")));
    // One job looks and tells, and one remembers; each has the rights of its own work.
    let (monitor, history) = text.split_once("\n  history:\n").unwrap();
    let jobs: Vec<&str> = monitor.split("\njobs:\n").nth(1).unwrap().lines().collect();
    let is_job = |line: &&&str| line.starts_with("  ") && !line.starts_with("   ") && !line.starts_with("  #");
    assert_eq!(jobs.iter().filter(is_job).collect::<Vec<_>>(), [&"  monitor:"]);
    assert!(!history.lines().any(|line| is_job(&&line)));
    for right in ["issues: write", "id-token: write"] {
        assert_eq!((monitor.matches(right).count(), history.matches(right).count()), (1, 0), "{right}");
    }
    assert_eq!((monitor.matches("contents: write").count(), history.matches("contents: write").count()), (0, 1));
    for right in ["packages: write", "deployments: write", "actions: write"] {
        assert!(!text.contains(right), "{right}");
    }
    assert!(text.contains("cancel-in-progress: false"));
}
