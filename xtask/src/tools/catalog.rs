//! Which version of a tool is ours: read from the hash-pinned requirement files, the only place that says so.

/// The version that `lock` (the text of a requirement file) pins for a package.
pub fn pinned(lock: &str, package: &str) -> Option<String> {
    let line = lock.lines().find(|line| names(line, package))?;
    let version = line.split("==").nth(1)?;
    Some(version.split([' ', ';', '\\']).next().unwrap_or_default().to_owned())
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
            assert_eq!(pinned(LOCK, package).as_deref(), version);
        }
        assert_eq!(entry(LOCK, "ruff").unwrap(), "ruff==0.17.6 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n");
        assert_eq!(count(LOCK), 3);
    }
}
