//! Weaknesses planted in a project that is green, one at a time: each turns exactly the right gate red, and leads to the line.

use super::guarded::Guarded;

#[test]
fn a_project_without_weaknesses_is_green() {
    let guarded = Guarded::new();
    let ran = guarded.project.xtask(&["ci", "--only", "policy,scan,sbom"]);
    ran.assert_code(0);
    let idle: Vec<&str> =
        ran.report().gates.iter().filter(|gate| gate.work.count == 0).map(|gate| gate.id.as_str()).collect();
    assert!(idle.is_empty(), "{idle:?}");
    assert!(ran.report().gates.len() >= 15, "{:?}", ran.report().gates.len());
}
