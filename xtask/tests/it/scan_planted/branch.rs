//! A branch neither hides its weaknesses nor judges itself.

use super::super::guarded::{GUARDS, Guarded, aws_key};
use super::super::support::Project;
use super::{CONFIG, Expected, MANIFEST, WORKFLOW, append, assert_exactly, assert_nowhere, place, plant_shell_call};

#[test]
fn a_branch_cannot_bring_what_would_hide_its_weaknesses() {
    let guarded = Guarded::green();
    let project = &guarded.project;
    project.git(&["checkout", "-q", "-B", "branch"]);
    let key = aws_key();

    // gitleaks: its settings, its list of known findings, its comment, and names of files that it leaves out.
    project.write(".gitleaks.toml", "[allowlist]\npaths = ['''.*''']\n");
    project.write(".gitleaksignore", "leak.txt:aws-access-token:1\nvendor/go.sum:aws-access-token:1\n");
    let attributes =
        "* binary -diff linguist-generated linguist-vendored\nwide.txt text working-tree-encoding=UTF-16\n";
    project.write(".gitattributes", attributes);
    // Git stores it in plain letters, and writes it so that nobody finds them in the working tree.
    let wide = format!("\u{feff}id = {key}\n");
    let wide: Vec<u8> = wide.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(project.path().join("wide.txt"), wide).unwrap();
    let leaks = ["leak.txt", "vendor/go.sum", "node_modules/a/package-lock.json", "logo.svg"];
    leaks.iter().for_each(|path| project.write(path, &format!("id = {key} # gitleaks:allow\n")));

    // bandit and ruff.
    plant_shell_call(project, "  # nosec  # noqa");
    project.edit("shop/api.py", "import subprocess\n", "# ruff: noqa\n# nosec\nimport subprocess\n");
    for folder in ["", "shop/"] {
        project.write(&format!("{folder}.bandit"), "[bandit]\nskips = B404,B602\nexclude = shop,/shop\n");
        project.write(&format!("{folder}ruff.toml"), "exclude = [\"*\"]\n[lint]\nignore = [\"S\"]\n");
        project.write(&format!("{folder}.ruff.toml"), "exclude = [\"*\"]\n[lint]\nignore = [\"S\"]\n");
        project.write(&format!("{folder}setup.cfg"), "[bandit]\nskips = B404,B602\n");
    }
    let settings = "\n[tool.bandit]\nskips = [\"B404\", \"B602\"]\nexclude_dirs = [\"shop\"]\n\n[tool.ruff]\nexclude = [\"shop\"]\n\n[tool.ruff.lint]\nignore = [\"S\"]\n";
    append(project, "pyproject.toml", settings);

    // hadolint.
    for name in [".hadolint.yaml", ".hadolint.yml", "hadolint.yaml"] {
        project.write(name, "ignored: [DL3002, DL3066]\nfailure-threshold: none\n");
    }
    let user = "# hadolint global ignore=DL3002,DL3066\n# hadolint ignore=DL3002,DL3066\nUSER root";
    project.edit("Dockerfile", "USER 10001", user);

    // zizmor, and actionlint with shellcheck.
    for name in [".github/zizmor.yml", ".github/zizmor.yaml", "zizmor.yml", ".github/workflows/zizmor.yml.txt"] {
        project.write(name, "rules:\n  unpinned-uses:\n    disable: true\n");
    }
    for name in [".github/actionlint.yaml", ".github/actionlint.yml"] {
        project.write(name, "paths:\n  '**/*':\n    ignore:\n    - '.*'\n");
    }
    let unpinned = "@v7 # zizmor: ignore[unpinned-uses]";
    project.edit(WORKFLOW, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", unpinned);
    let script =
        "run: |\n          # shellcheck disable=all\n          #\u{a0}shellcheck disable=SC2086\n          cd $HOME";
    project.edit(WORKFLOW, "run: cargo xtask ci", script);

    // shellcheck, with a blank that only it takes for one, too.
    for folder in ["", ".github/"] {
        project.write(&format!("{folder}.shellcheckrc"), "disable=all\n");
        project.write(&format!("{folder}shellcheckrc"), "disable=all\n");
    }
    let directives = "# shellcheck disable=all\n#\u{a0}shellcheck disable=SC2086,SC1018\n#\u{200b}shellcheck disable=SC2086,SC1018\n";
    project.edit("run.sh", "set -eu\n", &format!("{directives}set -eu\ncd $1 # shellcheck disable=SC2086\n"));

    // kube-score.
    let ignored = |indent: &str| {
        let names = ["kube-score/ignore: container-security-context-privileged", "kube-score/skip: '*'"];
        let lines = names.map(|line| format!("{indent}    {line}\n")).concat();
        format!("{indent}  annotations:\n{lines}")
    };
    for (indent, after) in [("", "kind: Deployment\nmetadata:\n"), ("    ", "  template:\n    metadata:\n")] {
        project.edit(MANIFEST, after, &format!("{after}{}", ignored(indent)));
    }
    project.edit(MANIFEST, "          runAsUser: 10001", "          privileged: true\n          runAsUser: 10001");

    // Data bases of vulnerabilities.
    guarded.osv.knows("idna", "PYSEC-2026-1", "LOW", None);
    guarded.advise("RUSTSEC-2026-0002", "itoa");
    for name in ["audit.toml", ".cargo/audit.toml", "deny.toml"] {
        project.write(name, "[advisories]\nignore = [\"RUSTSEC-2026-0002\"]\n");
    }
    project.write("osv-scanner.toml", "[[IgnoredVulns]]\nid = \"PYSEC-2026-1\"\nreason = \"none\"\n");
    project.commit();

    let ran = project.xtask(&["ci", "--only", "policy,scan,sbom", "--no-cache"]);
    let call = place(project, "shop/api.py", "shell=True");
    let mut expected = vec![
        ("scan/history", "aws-access-token", "wide.txt:1".to_owned(), "commit "),
        ("scan/bandit", "B602", call.clone(), "shell=True"),
        ("scan/ruff", "S602", call, "shell=True"),
        ("scan/dockerfile", "DL3002", place(project, "Dockerfile", "USER root"), "should not be root"),
        ("scan/workflows", "unpinned-uses", place(project, WORKFLOW, "@v7"), "not pinned"),
        ("scan/actionlint", "shellcheck", place(project, WORKFLOW, "run: |"), "SC2086"),
        ("scan/shell", "SC2086", place(project, "run.sh", "cd $1"), "Double quote"),
        ("scan/pod-security", "privileged", place(project, MANIFEST, "privileged: true"), ""),
        ("scan/kube-score", "container-security-context-privileged", place(project, MANIFEST, "privileged: true"), ""),
        ("scan/deps-3.12", "PYSEC-2026-1", place(project, "locks/tests.txt", "idna"), "no version mends it yet"),
        ("scan/rustsec", "RUSTSEC-2026-0002", place(project, "Cargo.lock", "name = \"itoa\""), "Planted (mended in"),
    ];
    // Wide text is read as well, in the working tree and in the history.
    let leaks = leaks.into_iter().chain(["wide.txt"]);
    expected.extend(leaks.map(|path| ("scan/secrets", "aws-access-token", format!("{path}:1"), "AWS")));
    let expected: Vec<Expected<'_>> =
        expected.iter().map(|(gate, rule, place, words)| (*gate, *rule, place.as_str(), *words)).collect();
    assert_exactly(&ran, &expected);
    assert_nowhere(&ran, project, &key);
}

/// What a branch may change so that more passes, and the finding that leads to it.
type Weakening = (fn(&Project), &'static str, fn(&Project) -> String, &'static str);

const WEAKENINGS: [Weakening; 10] = [
    (
        |project| project.edit(CONFIG, "floor = 90.0", "floor = 10.0"),
        "weaker-policy",
        |project| place(project, CONFIG, "floor"),
        "coverage.floor: was 90.0, is 10.0",
    ),
    (
        |project| project.edit(CONFIG, "\"scan/kube-score\" = \"high\"", "\"scan/kube-score\" = \"critical\""),
        "weaker-policy",
        |project| place(project, CONFIG, "scan/kube-score"),
        "policy.severity of `scan/kube-score`: was \"high\", is \"critical\"",
    ),
    (
        |project| project.edit(CONFIG, "[policy]\n", "[policy]\nbreaks_at = \"high\"\n"),
        "weaker-policy",
        |project| place(project, CONFIG, "breaks_at"),
        "policy.breaks_at: was",
    ),
    (
        |project| {
            let ignore = "gate = \"scan\"\nrule = \"B602\"\nreason = \"none\"\nexpires = \"2999-12-31\"";
            append(project, CONFIG, &format!("\n[[ignore]]\n{ignore}\n"));
        },
        "weaker-policy",
        |project| place(project, CONFIG, "[[ignore]]"),
        "ignore: now has",
    ),
    (
        |project| project.edit(CONFIG, "[shell]\nfiles = [\"run.sh\"]\n", ""),
        "gate-removed",
        |_| CONFIG.to_owned(),
        "the gate `scan/shell` is gone",
    ),
    (
        |project| project.edit(CONFIG, "optional = []", "optional = [\"scan/bandit\"]"),
        "weaker-policy",
        |project| place(project, CONFIG, "optional"),
        "profiles.local.optional: now has \"scan/bandit\"",
    ),
    (
        |project| append(project, CONFIG, "\n[cache]\ngenerated = [\"shop\"]\n"),
        "weaker-policy",
        |project| place(project, CONFIG, "generated"),
        "cache.generated: now has \"shop\"",
    ),
    (|project| append(project, RULES, ALLOWED), "changed-rules", |_| RULES.to_owned(), "the rules of a scanner differ"),
    (
        |project| project.write("ci/yamllint.yaml", "rules: {}\n"),
        "changed-rules",
        |_| "ci/yamllint.yaml".to_owned(),
        "the rules of a scanner differ",
    ),
    (
        |project| project.edit(HOOKS, "  - id: types\n    name: types\n    entry: mypy\n    language: system\n", ""),
        "weaker-hook",
        |_| HOOKS.to_owned(),
        "hook `types` is gone",
    ),
];

const HOOKS: &str = ".pre-commit-config.yaml";
const RULES: &str = "rules/gitleaks.toml";
const ALLOWED: &str = "\n[[allowlists]]\ntargetRules = [\"private-key\"]\nregexes = ['''.*''']\n";

#[test]
fn a_branch_does_not_judge_itself() {
    let guarded = Guarded::green();
    let project = &guarded.project;
    let hook =
        |id: &str, entry: &str| format!("  - id: {id}\n    name: {id}\n    entry: {entry}\n    language: system\n");
    let hooks = format!("repos:\n- repo: local\n  hooks:\n{}{}", hook("types", "mypy"), hook("style", "ruff check"));
    project.write(HOOKS, &hooks);
    let more =
        format!("\n[hooks]\nconfig = \"{HOOKS}\"\n\n[coverage]\nfloor = 90.0\n\n[profiles.local]\noptional = []\n");
    append(project, CONFIG, &more);
    // Rules beside the configuration, and somewhere else.
    project.write("ci/yamllint.yaml", "extends: default\n");
    project.write(RULES, &project.read("ci/gitleaks.toml"));
    project.edit(CONFIG, "ci/gitleaks.toml", RULES);
    project.commit();
    project.git(&["checkout", "-q", "-B", "branch"]);
    project.xtask(&["ci", "--only", "policy"]).assert_code(0);
    for (weaken, rule, at, words) in WEAKENINGS {
        weaken(project);
        let ran = project.xtask(&["ci", "--only", "policy"]);
        assert_exactly(&ran, &[("policy", rule, &at(project), words)]);
        project.git(&["checkout", "-q", "."]);
    }

    // All of them, committed: nothing else is red.
    WEAKENINGS.iter().for_each(|(weaken, ..)| weaken(project));
    project.commit();
    let ran = project.xtask(&GUARDS);
    let places: Vec<_> = WEAKENINGS.iter().map(|(_, rule, at, words)| (*rule, at(project), *words)).collect();
    let expected: Vec<_> =
        places.iter().map(|(rule, place, words)| ("policy", *rule, place.as_str(), *words)).collect();
    assert_exactly(&ran, &expected);

    // On main nothing is new, and what main has is what counts.
    project.git(&["checkout", "-q", "-B", "main"]);
    project.xtask(&["ci", "--only", "policy"]).assert_code(0);
}
