//! Structure tests of an image: run by container-structure-test where the profile trusts one from PATH, and by us
//! otherwise, kind by kind.

use regex_lite::Regex;

use super::archive::{Entry, Kind, Tree, texts};
use super::image::{Image, Known, Settings};
use crate::engine::session::Session;
use crate::tools::containers::{Engine, LABEL, unique};
use crate::tools::proc::{Exit, Undo};
use crate::verdict::{Finding, NotRun, Severity, Unproven};
use format::{CommandTest, ExecutableBy, ExistenceTest, MetadataTest, Pair, TOOL, Tests, parse};

mod format;
mod tool;

/// What all checks found, and how many there were.
#[derive(Debug, Default)]
pub struct Checked {
    /// How many checks were made.
    pub count: u64,
    /// Those that were broken.
    pub findings: Vec<Finding>,
}

/// The rule of a broken test, which is its kind.
struct Breaks<'a>(&'a str, &'static str);

impl Breaks<'_> {
    fn finding(&self, name: &str, message: &str) -> Finding {
        Finding::new(self.1, Severity::High, format!("{name}: {message}")).at(self.0.to_owned(), None)
    }
}

/// Runs the tests of `file`.
pub async fn check(
    session: &Session,
    engine: &Engine,
    image: &Image,
    known: &Known,
    file: &str,
) -> Result<Checked, Unproven> {
    let ctx = session.ctx();
    let text = std::fs::read_to_string(ctx.root.join(file))
        .map_err(|e| session.not_run(format!("`{file}` cannot be read: {e}")))?;
    // The tool knows docker's images alone.
    if ctx.profile.trusts_path()
        && engine.name == "docker"
        && let Some(program) = session.machine.on_path(TOOL)
    {
        return tool::check(session, &program, image, file).await;
    }
    let tests = parse(&text).map_err(|why| NotRun::new(format!("`{file}`: {why}"), format!("mend `{file}`")))?;
    let mut checked = Checked::default();
    if !tests.file_existence_tests.is_empty() || !tests.file_content_tests.is_empty() {
        files(session, engine, image, file, &tests, &mut checked).await?;
    }
    if let Some(metadata) = &tests.metadata_test {
        for (name, wrong) in settings(metadata, &known.config) {
            checked.count += 1;
            checked.findings.extend(wrong.map(|wrong| Breaks(file, "metadata").finding(&name, &wrong)));
        }
    }
    for test in &tests.command_tests {
        checked.count += 1;
        let wrong = command(session, engine, image, test).await?;
        checked.findings.extend(wrong.map(|wrong| Breaks(file, "command").finding(&test.name, &wrong)));
    }
    Ok(checked)
}

/// Existence, permissions, owners and contents, from the file system as the engine exports it.
async fn files(
    session: &Session,
    engine: &Engine,
    image: &Image,
    file: &str,
    tests: &Tests,
    checked: &mut Checked,
) -> Result<(), Unproven> {
    let name = unique("files");
    let _gone_after = Undo::new(session.runner(), engine.command(["rm", "--force", "--volumes", &name]));
    let label = format!("{LABEL}={name}");
    let created = session.step(&engine.command(["create", "--name", &name, "--label", &label, &image.id])).await?;
    if !created.is_success() {
        return Err(session.not_run(format!("no container can be made of the image: {}", created.failure())).into());
    }
    let folder = session.ctx().store.join("container");
    let scratch = session.runner().ledger.scratch("files", &folder)?;
    let archive = scratch.path().join("files.tar");
    let exported = session.step(&engine.command(["export", "--output"]).arg(&archive).args([&name])).await?;
    if !exported.is_success() {
        return Err(session.not_run(format!("its files cannot be exported: {}", exported.failure())).into());
    }
    let tree = Tree::read(&archive).map_err(|e| session.not_run(format!("{e:#}")))?;
    if tree.len() == 0 {
        return Err(session.not_run("the image has no file").into());
    }
    for test in &tests.file_existence_tests {
        checked.count += 1;
        let wrong = exists(test, tree.entry(&test.path));
        checked.findings.extend(wrong.map(|wrong| Breaks(file, "file-existence").finding(&test.name, &wrong)));
    }
    let places: Vec<Option<String>> = tests.file_content_tests.iter().map(|test| tree.resolve(&test.path)).collect();
    let wanted: Vec<String> = places.iter().flatten().cloned().collect();
    let found = texts(&archive, &wanted).map_err(|e| session.not_run(format!("{e:#}")))?;
    for (test, place) in tests.file_content_tests.iter().zip(places) {
        checked.count += 1;
        let text = place.and_then(|place| found.get(&place));
        let wrong = match text {
            None => Some(format!("`{}` is no file that can be read", test.path)),
            Some(text) => fits(text, &test.expected_contents, &test.excluded_contents, &test.path)?,
        };
        checked.findings.extend(wrong.map(|wrong| Breaks(file, "file-content").finding(&test.name, &wrong)));
    }
    Ok(())
}

fn exists(test: &ExistenceTest, entry: Option<&Entry>) -> Option<String> {
    let path = &test.path;
    let entry = match (entry, test.should_exist) {
        (None, true) => return Some(format!("`{path}` is not there")),
        (Some(_), false) => return Some(format!("`{path}` is there")),
        (None, false) => return None,
        (Some(entry), true) => entry,
    };
    let found = entry.permissions();
    if let Some(wanted) = test.permissions.as_ref().filter(|wanted| **wanted != found) {
        return Some(format!("`{path}` has the permissions {found}, expected {wanted}"));
    }
    for (what, wanted, found) in [("user", test.uid, entry.uid), ("group", test.gid, entry.gid)] {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            return Some(format!("`{path}` is of the {what} {found}, expected {wanted}"));
        }
    }
    let mask = match test.is_executable_by? {
        ExecutableBy::Owner => 0o100,
        ExecutableBy::Group => 0o010,
        ExecutableBy::Other => 0o001,
        ExecutableBy::Any => 0o111,
    };
    let is_executable = entry.mode & mask != 0 && !matches!(entry.kind, Kind::Other);
    (!is_executable).then(|| format!("`{path}` cannot be executed as expected ({found})"))
}

/// The first pattern that is missing, or that is there and must not be.
fn fits(text: &str, expected: &[String], excluded: &[String], what: &str) -> Result<Option<String>, NotRun> {
    for (patterns, wanted) in [(expected, true), (excluded, false)] {
        for pattern in patterns {
            // Go's expressions know `\z` and classes that this library writes in the same way.
            let regex = Regex::new(pattern)
                .map_err(|e| NotRun::new(format!("`{pattern}` is no regular expression: {e}"), "mend the pattern"))?;
            if regex.is_match(text) != wanted {
                let verb = if wanted { "does not match" } else { "matches" };
                return Ok(Some(format!("{what} {verb} `{pattern}`")));
            }
        }
    }
    Ok(None)
}

async fn command(
    session: &Session,
    engine: &Engine,
    image: &Image,
    test: &CommandTest,
) -> Result<Option<String>, Unproven> {
    let name = unique("command");
    let _gone_after = Undo::new(session.runner(), engine.command(["rm", "--force", "--volumes", &name]));
    let mut run = engine.command(["run", "--name", &name, "--label", &format!("{LABEL}={name}"), "--network", "none"]);
    for Pair { key, value, .. } in &test.env_vars {
        run = run.args(["--env".to_owned(), format!("{key}={value}")]);
    }
    let run = run.args(["--entrypoint", &test.command, &image.id]).args(test.args.clone());
    let ended = session.step(&run.timeout(std::time::Duration::from_secs(60))).await?;
    let code = match ended.exit {
        // The engine itself could not do it.
        Exit::Code(125) => return Err(session.not_run(format!("`{}`: {}", test.name, ended.failure())).into()),
        Exit::Code(code) => code,
        // It was not the image that ended so, but the engine that was asked.
        _ => return Err(session.not_run(format!("`{}`: {}", test.name, ended.failure())).into()),
    };
    if code != test.exit_code {
        return Ok(Some(format!("exit code {code}, expected {}: {}", test.exit_code, ended.failure())));
    }
    let out = fits(&ended.stdout, &test.expected_output, &test.excluded_output, "the output")?;
    Ok(out.or(fits(&ended.stderr, &test.expected_error, &test.excluded_error, "the error output")?))
}

/// Each check of the image's configuration, with what is wrong.
fn settings(test: &MetadataTest, found: &Settings) -> Vec<(String, Option<String>)> {
    let mut checks = Vec::new();
    let mut add = |name: String, wrong: Option<String>| checks.push((name, wrong));
    let env = found.env.clone().unwrap_or_default();
    let variable = |key: &str| env.iter().find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned);
    let label = |key: &str| found.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    for pair in &test.env_vars {
        add(format!("variable {}", pair.key), differs(pair, variable(&pair.key)));
    }
    for pair in &test.labels {
        add(format!("label {}", pair.key), differs(pair, label(&pair.key)));
    }
    for (name, wanted, found) in [("entrypoint", &test.entrypoint, &found.entrypoint), ("cmd", &test.cmd, &found.cmd)] {
        if let Some(wanted) = wanted {
            let found = found.clone().unwrap_or_default();
            add(name.to_owned(), (*wanted != found).then(|| format!("is {found:?}, expected {wanted:?}")));
        }
    }
    for (name, wanted, found) in [("workdir", &test.workdir, &found.working_dir), ("user", &test.user, &found.user)] {
        if let Some(wanted) = wanted {
            add(name.to_owned(), (wanted != found).then(|| format!("is `{found}`, expected `{wanted}`")));
        }
    }
    let is_exposed = |port: &String| {
        let full = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
        found.exposed_ports.as_ref().is_some_and(|ports| ports.contains_key(&full))
    };
    let has_volume = |path: &String| found.volumes.as_ref().is_some_and(|volumes| volumes.contains_key(path));
    for (names, wanted, what, is_there) in [
        (&test.exposed_ports, true, "port", &is_exposed as &dyn Fn(&String) -> bool),
        (&test.unexposed_ports, false, "port", &is_exposed),
        (&test.volumes, true, "volume", &has_volume),
        (&test.unmounted_volumes, false, "volume", &has_volume),
    ] {
        for name in names {
            let wrong =
                (is_there(name) != wanted).then(|| if wanted { "is not declared" } else { "is declared" }.to_owned());
            add(format!("{what} {name}"), wrong);
        }
    }
    checks
}

fn differs(pair: &Pair, found: Option<String>) -> Option<String> {
    let Some(found) = found else { return Some("is not set".to_owned()) };
    let fits = if pair.is_regex {
        Regex::new(&pair.value).is_ok_and(|regex| regex.is_match(&found))
    } else {
        pair.value == found
    };
    (!fits).then(|| format!("is `{found}`, expected `{}`", pair.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_held_against_every_word_of_its_test() {
        let test =
            |more: &str| -> ExistenceTest { serde_saphyr::from_str(&format!("name: n\npath: /a\n{more}")).unwrap() };
        let entry = Entry { kind: Kind::File, mode: 0o644, uid: 0, gid: 5 };
        for (more, entry, wrong) in [
            ("", Some(&entry), None),
            ("", None, Some("`/a` is not there")),
            ("shouldExist: false\n", None, None),
            ("shouldExist: false\n", Some(&entry), Some("`/a` is there")),
            ("permissions: '-rw-r--r--'\nuid: 0\ngid: 5\n", Some(&entry), None),
            (
                "permissions: '-rw-------'\n",
                Some(&entry),
                Some("`/a` has the permissions -rw-r--r--, expected -rw-------"),
            ),
            ("uid: 1\n", Some(&entry), Some("`/a` is of the user 0, expected 1")),
            ("gid: 0\n", Some(&entry), Some("`/a` is of the group 5, expected 0")),
            ("isExecutableBy: any\n", Some(&entry), Some("`/a` cannot be executed as expected (-rw-r--r--)")),
        ] {
            assert_eq!(exists(&test(more), entry).as_deref(), wrong, "{more}");
        }
    }

    #[test]
    fn settings_are_held_one_by_one() {
        let found: Settings = serde_json::from_str(
            r#"{"User": "10001:10001", "Env": ["A=1"], "Cmd": ["x"], "Entrypoint": null, "WorkingDir": "/",
                "Labels": {"l": "v2"}, "ExposedPorts": {"8000/tcp": {}}}"#,
        )
        .unwrap();
        let test = |text: &str| -> Vec<Option<String>> {
            let test: MetadataTest = serde_saphyr::from_str(text).unwrap();
            settings(&test, &found).into_iter().map(|(_, wrong)| wrong).collect()
        };
        for (text, wrong) in [
            ("user: '10001:10001'\ncmd: [x]\nworkdir: /\nentrypoint: []\n", vec![None, None, None, None]),
            ("user: root\n", vec![Some("is `10001:10001`, expected `root`".to_owned())]),
            (
                "envVars: [{key: A, value: '1'}]\nexposedPorts: ['8000']\nunexposedPorts: ['22']\n",
                vec![None, None, None],
            ),
            ("envVars: [{key: B, value: '1'}]\n", vec![Some("is not set".to_owned())]),
            ("labels: [{key: l, value: 'v[0-9]', isRegex: true}]\n", vec![None]),
            ("labels: [{key: l, value: 'v[0-9]'}]\n", vec![Some("is `v2`, expected `v[0-9]`".to_owned())]),
            ("exposedPorts: ['22']\nvolumes: [/data]\n", vec![Some("is not declared".to_owned()); 2]),
        ] {
            assert_eq!(test(text), wrong, "{text}");
        }
    }
}
