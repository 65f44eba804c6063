//! Which version of a tool is ours: read from the hash-pinned requirement files, the only place that says so.

/// The version that `lock` (the text of a requirement file) pins for a package on a Python (`3.10`).
///
/// A universal lock may pin one version for older Pythons and another for newer ones.
pub fn pinned(lock: &str, package: &str, python: &str) -> Option<String> {
    let line = lock.lines().find(|line| names(line, package) && applies(line, python))?;
    let version = line.split("==").nth(1)?;
    Some(version.split([' ', ';', '\\']).next().unwrap_or_default().to_owned())
}

/// Whether the conditions on the Python in a line's marker hold (PEP 508; other conditions are about the platform).
fn applies(line: &str, python: &str) -> bool {
    let marker = line.split_once(" ; ").map_or("", |(_, marker)| marker).trim_end_matches(['\\', ' ']);
    marker.split(" and ").all(|condition| {
        let mut words = condition.trim_matches(['(', ')']).split_whitespace();
        let (Some("python_full_version" | "python_version"), Some(operator), Some(bound)) =
            (words.next(), words.next(), words.next())
        else {
            return true;
        };
        // `3.11` stands for its newest patch.
        let mut asked = numbers(python);
        asked.push(u32::MAX);
        let bound = numbers(bound.trim_matches('\''));
        match operator {
            "<" => asked < bound,
            ">=" => asked >= bound,
            _ => true,
        }
    })
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').filter_map(|part| part.parse().ok()).collect()
}

/// The lines of `lock` that pin a package, hashes included, as a requirement file of their own.
pub fn entry(lock: &str, package: &str) -> Option<String> {
    let mut lines = lock.lines().skip_while(|line| !names(line, package));
    let mut entry = lines.next()?.to_owned();
    while entry.ends_with('\\') {
        entry.push('\n');
        entry.push_str(lines.next()?);
    }
    entry.push('\n');
    Some(entry)
}

/// How many packages `lock` pins.
pub fn count(lock: &str) -> usize {
    lock.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_alphanumeric()) && line.contains("==")).count()
}

fn names(line: &str, package: &str) -> bool {
    line.split_once("==")
        .is_some_and(|(name, _)| name.split('[').next().unwrap_or_default().eq_ignore_ascii_case(package))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "# made by\nruff==0.17.6 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via x\n\
                        uv==0.13.9 ; python_version >= '3.10' \\\n    --hash=sha256:cc\ncoverage[toml]==7.1 \\\n    --hash=sha256:dd\n";

    #[test]
    fn pins_are_read_from_the_lock() {
        for (package, version) in
            [("ruff", Some("0.17.6")), ("uv", Some("0.13.9")), ("coverage", Some("7.1")), ("mypy", None)]
        {
            assert_eq!(pinned(LOCK, package, "3.12").as_deref(), version);
        }
        assert_eq!(entry(LOCK, "ruff").unwrap(), "ruff==0.17.6 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n");
        assert_eq!(count(LOCK), 3);
    }
    #[test]
    fn a_universal_lock_pins_by_python() {
        let lock = "six==1.0 ; python_full_version < '3.11' \\\nsix==2.0 ; python_full_version >= '3.11' and sys_platform == 'linux' \\\n\
                    md==12 ; python_full_version < '3.11.5' \\\nmd==13 ; python_full_version >= '3.11.5' \\\n";
        for (package, python, version) in [
            ("six", "3.10", "1.0"),
            ("six", "3.11", "2.0"),
            ("six", "3.9", "1.0"),
            ("md", "3.11", "13"),
            ("md", "3.10", "12"),
        ] {
            assert_eq!(pinned(lock, package, python).as_deref(), Some(version), "{package} on {python}");
        }
    }
}
