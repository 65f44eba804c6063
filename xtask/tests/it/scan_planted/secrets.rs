//! Secrets in the working tree, and in every corner of the history.

use super::super::guarded::{GUARDS, Guarded, aws_key, private_key};
use super::super::support::Project;
use super::{assert_exactly, assert_leads_to, assert_nowhere, sarif};

#[test]
fn secrets_in_the_working_tree_and_in_the_history() {
    let guarded = Guarded::green();
    let project = &guarded.project;
    let key = aws_key();

    project.write("notes.txt", &format!("Notes\nid = {key}\n"));
    project.write("deploy.pem", &private_key());
    // gitleaks leaves out what begins like this.
    project.write("price-list.pdf", &format!("%PDF-1.4\nid = {key}\n"));
    let ran = project.xtask(&GUARDS);
    let expected = [
        ("scan/secrets", "aws-access-token", "notes.txt:2", "AWS"),
        ("scan/secrets", "private-key", "deploy.pem:1", "Private Key"),
        ("scan/secrets", "aws-access-token", "price-list.pdf:2", "AWS"),
    ];
    assert_exactly(&ran, &expected);
    assert_nowhere(&ran, project, &key);
    let results = sarif(project);
    let is_it = |result: &&serde_json::Value| {
        let place = &result["locations"][0]["physicalLocation"];
        result["ruleId"] == "aws-access-token"
            && place["artifactLocation"]["uri"] == "notes.txt"
            && place["region"]["startLine"] == 2
            && result["properties"]["gate"] == "scan/secrets"
    };
    assert_eq!(results.iter().filter(is_it).count(), 1, "{results:#?}");
    let summary = project.read("target/xtask/out/summary.md");
    assert!(summary.contains("notes.txt:2") && summary.contains("aws-access-token"), "{summary}");
    guarded.revert();

    // Since deleted; of a kind that git shows no difference of; moved with little change; brought by a merge alone.
    let deleted = commit_and_remove(project, "old.env", &format!("\n\nid = {key}\n"));
    project.write(".gitattributes", "*.dat binary -diff\n");
    let binary = commit_and_remove(project, "old.dat", &format!("id = {key}\n"));
    let prose: String = (0..40).map(|line| format!("line {line}\n")).collect();
    project.write("before.txt", &prose);
    project.commit();
    project.git(&["mv", "before.txt", "after.txt"]);
    let moved = commit_and_remove(project, "after.txt", &format!("{prose}id = {key}\n"));
    project.git(&["checkout", "-q", "-B", "side", "first"]);
    project.write("side.txt", "side\n");
    project.commit();
    project.git(&["checkout", "-q", "main"]);
    project.git(&["merge", "-q", "--no-ff", "--no-commit", "side"]);
    let merged = commit_and_remove(project, "shop/__init__.py", &format!("\nID = \"{key}\"\n"));
    let ran = project.xtask(&GUARDS);
    let expected = [
        ("scan/history", "aws-access-token", "old.env:3", deleted.as_str()),
        ("scan/history", "aws-access-token", "old.dat:1", &binary),
        ("scan/history", "aws-access-token", "after.txt:41", &moved),
        ("scan/history", "aws-access-token", "shop/__init__.py:2", &merged),
    ];
    assert_exactly(&ran, &expected);
    assert_nowhere(&ran, project, &key);

    // What is known of the history already is found again. The message of a commit has no line in any file.
    project.git(&["commit", "-q", "--allow-empty", "-m", &format!("Use {key}")]);
    let ran = project.xtask(&GUARDS);
    assert_eq!(ran.red(), ["scan/history"]);
    for (gate, rule, place, words) in expected {
        assert_leads_to(&ran, gate, rule, place, words);
    }
    let message = format!("the message of {}", head(project));
    assert!(ran.gate("scan/history").findings.iter().any(|found| found.message.contains(&message)), "{}", ran.stdout);
    assert_nowhere(&ran, project, &key);
    guarded.revert();
    project.xtask(&GUARDS).assert_code(0);
}

/// Commits a file, and another commit without that text in it; gives `commit ID` of the first.
fn commit_and_remove(project: &Project, path: &str, text: &str) -> String {
    let before = project.path().join(path).exists().then(|| project.read(path));
    project.write(path, text);
    project.commit();
    let commit = head(project);
    match before {
        Some(text) => project.write(path, &text),
        None => std::fs::remove_file(project.path().join(path)).unwrap(),
    }
    project.commit();
    commit
}

/// `commit ID` of HEAD.
fn head(project: &Project) -> String {
    let head = project.git_output(&["rev-parse", "--short=12", "HEAD"]).stdout;
    format!("commit {}", String::from_utf8(head).unwrap().trim())
}

#[test]
fn a_word_of_one_file_makes_no_secret_of_an_id_in_another() {
    let guarded = Guarded::new();
    let project = &guarded.project;
    // By itself each is harmless; in one file they are what gitleaks takes for a token.
    let (word, id) = (["source", "graph"].concat(), "0123456789abcdef".repeat(3)[..40].to_owned());
    project.write("words.txt", &format!("{word}\n"));
    project.write("ids.txt", &format!("commit {id}\n"));
    project.xtask(&["ci", "--only", "scan/secrets"]).assert_code(0);
    project.write("both.txt", &format!("{word} {id}\n"));
    let ran = project.xtask(&["ci", "--only", "scan/secrets"]);
    ran.assert_code(10);
    let paths: Vec<_> = ran.gate("scan/secrets").findings.iter().map(|found| found.path.clone()).collect();
    assert_eq!(paths, [Some("both.txt".to_owned())]);
}
