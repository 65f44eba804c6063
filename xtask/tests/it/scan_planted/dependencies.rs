//! What the project depends on: known vulnerabilities, licences, and locks that do not fit.

use super::super::guarded::{GUARDS, Guarded};
use super::super::support::Project;
use super::{append, assert_exactly, place};

#[test]
fn vulnerable_dependencies_and_licences() {
    let guarded = Guarded::green();
    let project = &guarded.project;
    let expected = [
        ("scan/deps-3.12", "PYSEC-2026-1", &*place(project, "locks/tests.txt", "idna=="), "mended in 99.0"),
        ("scan/rustsec", "RUSTSEC-2026-0002", &*place(project, "Cargo.lock", "name = \"itoa\""), "mended in >=99.0.0"),
    ];
    let remote = ["scan/deps-3.12", "scan/rustsec"];
    let only =
        |profile: &'static str| ["ci", "--only", "scan/deps-3.12,scan/rustsec", "--explain", "--profile", profile];
    for profile in ["actions", "offline"] {
        project.xtask(&only(profile)).assert_code(0);
    }
    guarded.osv.knows("idna", "PYSEC-2026-1", "HIGH", Some("99.0"));
    guarded.advise("RUSTSEC-2026-0002", "itoa");
    assert_eq!(guarded.osv.asked(), ["idna"; 3], "once for each profile");

    // What was asked for just now counts on a laptop, until it is too old; and nowhere else.
    let ran = project.xtask(&GUARDS);
    ran.assert_code(0);
    assert!(remote.iter().all(|gate| ran.gate(gate).cached), "{}", ran.stdout);
    assert_eq!(guarded.osv.asked().len(), 3);
    for profile in ["actions", "offline"] {
        let ran = project.xtask(&only(profile));
        assert_exactly(&ran, &expected);
        for gate in remote {
            assert!(ran.stdout.contains(&format!("{gate} runs: what a remote data base said")), "{}", ran.stdout);
        }
    }
    assert_exactly(&project.xtask(&["ci", "--only", "scan/deps-3.12,scan/rustsec", "--no-cache"]), &expected);
    age_stored_answers(project, &remote);
    let ran = project.xtask(&["ci", "--only", "policy,scan,sbom", "--explain"]);
    assert_exactly(&ran, &expected);
    for gate in remote {
        let why = format!("{gate} runs: what a remote data base said is too old (policy.max_age)");
        assert!(ran.stdout.contains(&why), "{}", ran.stdout);
    }
    guarded.revert();
    guarded.withdraw("RUSTSEC-2026-0002", "itoa");

    // A licence that asks for more than the configuration allows, by way of a new dependency.
    let tools = project.read("locks/tools.txt");
    let pin = &tools[tools.find("\nyamllint==").unwrap() + 1..];
    let pin = &pin[..pin.find("    # via").unwrap()];
    append(project, "locks/runtime.txt", pin);
    project.edit("pyproject.toml", "[\"idna\"]", "[\"idna\", \"yamllint\"]");
    let ran = project.xtask(&GUARDS);
    let place = place(project, "locks/runtime.txt", "yamllint==");
    assert_exactly(&ran, &[("sbom/licences", "licence", &place, "GPL-3.0")]);
}

/// The answers that are stored were asked for yesterday.
fn age_stored_answers(project: &Project, gates: &[&str]) {
    for gate in gates {
        let folder = project.path().join("target/xtask/cache/gates").join(gate.replace('/', "__"));
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("entry.json"));
        let entries: Vec<_> = entries.filter(|path| path.is_file()).collect();
        assert!(!entries.is_empty(), "{gate}");
        for path in entries {
            let mut entry: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            entry["asked"] = (entry["asked"].as_i64().unwrap() - 86_400).into();
            std::fs::write(&path, entry.to_string()).unwrap();
        }
    }
}

#[test]
fn a_lock_that_does_not_fit() {
    let project = Project::ours();
    // Two of the four locks, for the sake of time.
    let locks = ["tools", "runtime"];
    let script = project.read("backend/requirements/compile.sh");
    let is_kept = |line: &&str| !line.starts_with("compile ") || locks.contains(&line.split(' ').nth(1).unwrap());
    let script: String = script.lines().filter(is_kept).map(|line| format!("{line}\n")).collect();
    project.write("backend/requirements/compile.sh", &script);
    let files = "\"requirements/compile.sh\", \"requirements/tools.txt\", \"requirements/runtime.txt\"]";
    project.edit("xtask/config/pipeline.toml", "\"requirements\"]", files);

    project.edit("backend/pyproject.toml", "dependencies = [", "dependencies = [\n    \"itsdangerous>=2\",");
    let ran = project.xtask(&["ci", "--only", "scan/locks"]);
    // Where the package belongs by its name.
    let places = locks.map(|lock| {
        let lock = format!("backend/requirements/{lock}.txt");
        let text = project.read(&lock);
        let after = text.lines().find(|line| line.contains("==") && *line > "itsdangerous").unwrap();
        place(&project, &lock, after)
    });
    let expected = places.each_ref().map(|place| ("scan/locks", "stale-lock", &**place, "would be `itsdangerous=="));
    assert_exactly(&ran, &expected);
    assert_eq!(ran.gate("scan/locks").fix, "sh backend/requirements/compile.sh");
}
