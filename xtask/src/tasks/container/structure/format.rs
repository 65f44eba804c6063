//! container-structure-test's format, version 2.0.0, as data:
//! <https://github.com/GoogleContainerTools/container-structure-test>. What we cannot do is refused and never passed over.

use serde::Deserialize;

/// The tool whose format this is.
pub const TOOL: &str = "container-structure-test";

/// The file. Keys that are not here are refused: what is not checked must not look as if it were.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tests {
    pub schema_version: String,
    #[serde(default)]
    pub command_tests: Vec<CommandTest>,
    #[serde(default)]
    pub file_existence_tests: Vec<ExistenceTest>,
    #[serde(default)]
    pub file_content_tests: Vec<ContentTest>,
    pub metadata_test: Option<MetadataTest>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandTest {
    pub name: String,
    pub command: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default)]
    pub env_vars: Vec<Pair>,
    #[serde(default)]
    pub expected_output: Vec<String>,
    #[serde(default)]
    pub excluded_output: Vec<String>,
    #[serde(default)]
    pub expected_error: Vec<String>,
    #[serde(default)]
    pub excluded_error: Vec<String>,
    #[serde(default)]
    pub exit_code: i32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExistenceTest {
    pub name: String,
    pub path: String,
    #[serde(default = "yes")]
    pub should_exist: bool,
    pub permissions: Option<String>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub is_executable_by: Option<ExecutableBy>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutableBy {
    Owner,
    Group,
    Other,
    Any,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContentTest {
    pub name: String,
    pub path: String,
    #[serde(default)]
    pub expected_contents: Vec<String>,
    #[serde(default)]
    pub excluded_contents: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetadataTest {
    #[serde(default)]
    pub env_vars: Vec<Pair>,
    #[serde(default)]
    pub labels: Vec<Pair>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    #[serde(default)]
    pub exposed_ports: Vec<String>,
    #[serde(default)]
    pub unexposed_ports: Vec<String>,
    #[serde(default)]
    pub volumes: Vec<String>,
    #[serde(default)]
    pub unmounted_volumes: Vec<String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pair {
    pub key: String,
    pub value: String,
    #[serde(default)]
    pub is_regex: bool,
}

pub fn yes() -> bool {
    true
}

/// Text → tests; the error says what we do not do.
pub fn parse(text: &str) -> Result<Tests, String> {
    let tests: Tests = serde_saphyr::from_str(text).map_err(|e| {
        let words = e.to_string();
        let first = words.lines().next().unwrap_or_default().to_owned();
        format!("{first} (only {TOOL} itself on PATH, in the profile local, does more)")
    })?;
    if tests.schema_version != "2.0.0" {
        return Err(format!("schemaVersion is `{}`, and 2.0.0 is what is known", tests.schema_version));
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, wrong) in [
            ("schemaVersion: 2.0.0\n", false),
            ("schemaVersion: 1.0.0\n", true),
            ("schemaVersion: 2.0.0\nlicenseTests:\n- debian: true\n", true),
            ("schemaVersion: 2.0.0\nfileExistenceTests:\n- name: a\n  path: /a\n  shouldExists: true\n", true),
            ("schemaVersion: 2.0.0\ncommandTests:\n- name: a\n  command: a\n  setup: [[b]]\n", true),
            ("schemaVersion: 2.0.0\nmetadataTest:\n  cmdline: [a]\n", true),
        ] {
            assert_eq!(parse(text).is_err(), wrong, "{text}");
        }
    }
}
