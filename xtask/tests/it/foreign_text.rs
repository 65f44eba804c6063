//! R38: text from tools and tests is data, in the terminal, in logs, in annotations and in Markdown.

use super::support::Project;

#[test]
fn what_a_test_prints_commands_nobody() {
    let mut project = Project::shop();
    let test = "def test_evil():\n    print('::set-output name=x::printed')\n    print('\\x1b]0;title\\x07\\x1b[31mred')\n    \
                raise ValueError('\\x9b31m\\u202e ::error::x @team <img src=1> ##[error]y s3cret-value \\x1b[31m')\n";
    project.write("checks/test_evil.py", test);
    project.set("GITHUB_ACTIONS", "true");
    project.set("MY_API_TOKEN", "s3cret-value");
    project.set("GITHUB_STEP_SUMMARY", project.path().join("target/step.md"));
    let ran = project.xtask(&["ci", "--only", "test-matrix/3.12", "-v"]);
    ran.assert_code(10);
    for line in ran.stdout.lines().filter(|line| line.contains("::")) {
        let ours = ["::group::", "::endgroup::", "::error file=", "::error title="]
            .iter()
            .any(|start| line.starts_with(start));
        let again = line.contains("test_evil.py::test_evil");
        assert!(ours || (again && !line.trim_start().starts_with("::")), "{line}");
    }
    assert!(ran.stdout.contains("::error file=checks/test_evil.py,line=4,"), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stdout.contains("##["), "{}", ran.stdout);
    for file in ["summary.md", "report.json", "junit.xml", "logs/test-matrix/3.12.log"] {
        let text = project.read(&format!("target/xtask/out/{file}"));
        assert!(!text.contains("s3cret-value"), "{file}: {text}");
        assert!(!text.contains('\u{1b}') && !text.contains("\\u001b"), "{file}: {text}");
        assert!(!text.contains('\u{9b}') && !text.contains('\u{202e}'), "{file}: {text}");
    }
    let summary = project.read("target/step.md");
    assert!(!summary.contains("<img") && !summary.contains("@team"), "{summary}");
}

#[test]
fn without_actions_no_workflow_command_is_written() {
    let project = Project::shop();
    let ran = project.xtask(&["ci", "--only", "subjects"]);
    ran.assert_code(0);
    assert!(!ran.stdout.contains("::group::"), "{}", ran.stdout);
}
