//! A generated project of any size with every subject that `scan` knows, and a known number of weaknesses.

use std::collections::BTreeMap;

use super::text;
use super::work::Expected;
use crate::material::bulk;
use crate::material::random::Random;
use crate::material::stream::Stream;

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Files in all, without the lock files of the tools.
    pub files: usize,
    /// About how many bytes they have.
    pub bytes: usize,
    /// Modules of Python, and bytes of each.
    pub modules: (usize, usize),
    /// Overlays of manifests, and applications in each.
    pub overlays: (usize, usize),
    /// Shell scripts.
    pub scripts: usize,
    /// Dockerfiles.
    pub dockerfiles: usize,
    /// Workflows.
    pub workflows: usize,
    /// Commits of the history.
    pub commits: usize,
    /// How many weaknesses are planted for each gate.
    pub planted: usize,
}

/// A project as people begin one.
pub const SMALL: Size = Size {
    files: 20,
    bytes: 40_000,
    modules: (6, 2_000),
    overlays: (1, 1),
    scripts: 2,
    dockerfiles: 1,
    workflows: 1,
    commits: 10,
    planted: 1,
};

/// A large one.
pub const LARGE: Size = Size {
    files: 5_000,
    bytes: 40_000_000,
    modules: (1_500, 4_000),
    overlays: (20, 10),
    scripts: 100,
    dockerfiles: 20,
    workflows: 20,
    commits: 1_000,
    planted: 10,
};

/// How long a secret of the history was there, in commits.
const THERE_FOR: usize = 3;

/// The project.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Path → text of what is there.
    pub files: BTreeMap<String, String>,
    /// The same of what was removed again.
    pub gone: Vec<(String, String)>,
    size: Size,
}

impl Tree {
    /// With these lock files of the tools, and with these rules for secrets.
    pub fn new(size: Size, python: &str, locks: BTreeMap<String, String>, rules: &str) -> Self {
        let mut random = Random::new(7);
        let mut files = BTreeMap::from([
            (".gitignore".to_owned(), "/target/\n".to_owned()),
            ("xtask/config/gitleaks.toml".to_owned(), rules.to_owned()),
        ]);
        let is_weak = |n: usize| n < size.planted;
        for n in 0..size.modules.0 {
            let path = format!("library/part_{:02}/module_{n:04}.py", n / 50);
            files.insert(path, text::module(&mut random, size.modules.1, is_weak(n)));
        }
        for n in 0..size.overlays.0 {
            let (apps, mut list) = (size.overlays.1, "resources:\n".to_owned());
            for app in 0..apps {
                list.push_str(&format!("- app_{app:02}.yaml\n"));
                files.insert(format!("k8s/{n:02}/app_{app:02}.yaml"), text::manifest(app, is_weak(n * apps + app)));
            }
            files.insert(format!("k8s/{n:02}/kustomization.yaml"), list);
        }
        for n in 0..size.scripts {
            files.insert(script(n), text::script(&mut random, is_weak(n)));
        }
        for n in 0..size.dockerfiles {
            files.insert(dockerfile(n), text::dockerfile(n, is_weak(n)));
        }
        for n in 0..size.workflows {
            files.insert(format!(".github/workflows/job_{n:02}.yml"), text::workflow(n, is_weak(n)));
        }
        let secret = |folder: &str, n: usize, random: &mut Random| {
            (format!("{folder}/site_{n:02}.env"), format!("LEVEL=info\nTOKEN=ghp_{}\n", random.word(36)))
        };
        files.extend((0..size.planted).map(|n| secret("settings", n, &mut random)));
        let gone = (0..size.planted).map(|n| secret("gone", n, &mut random)).collect();
        files.insert("xtask/config/pipeline.toml".to_owned(), text::pipeline(&size, python));
        let others = size.files.saturating_sub(files.len());
        let written: usize = files.values().map(String::len).sum();
        let bytes = size.bytes.saturating_sub(written) / others.max(1);
        for n in 0..others {
            let ending = ["ts", "md", "json", "txt"][n % 4];
            files.insert(format!("other/part_{:02}/file_{n:04}.{ending}", n / 50), bulk::text(&mut random, bytes));
        }
        files.extend(locks);
        Self { files, gone, size }
    }

    /// What each gate has to have done and found, by its id.
    pub fn expected(&self) -> BTreeMap<String, Expected> {
        let Size { modules, overlays, scripts, dockerfiles, workflows, commits, planted, .. } = self.size;
        let apps = overlays.0 * overlays.1;
        let all = [
            ("scan/secrets", self.files.len(), "files", planted),
            ("scan/history", commits, "commits", planted),
            ("scan/bandit", modules.0, "files", planted),
            ("scan/ruff", modules.0, "files", planted),
            ("scan/dockerfile", dockerfiles, "files", planted),
            ("scan/workflows", workflows, "workflows", planted),
            ("scan/actionlint", workflows, "workflows", planted),
            ("scan/manifests", apps * text::DOCUMENTS, "documents", planted),
            ("scan/kube-score", apps * text::SCORED, "objects", planted),
            ("scan/shell", scripts, "scripts", planted),
        ];
        let expected = |(gate, count, unit, findings): (&str, usize, &'static str, usize)| {
            (gate.to_owned(), Expected { count: Some(count), unit, findings: Some(findings) })
        };
        all.into_iter().map(expected).collect()
    }

    /// The history that leads to the files, for `git fast-import`: each commit adds some of them.
    pub fn history(&self) -> String {
        let commits = self.size.commits;
        let mut stream = Stream::with_capacity(self.size.bytes * 2);
        let files: Vec<(&String, &String)> = self.files.iter().collect();
        for n in 0..commits {
            let before: Vec<usize> = (n > 0).then_some(stream.mark()).into_iter().collect();
            stream.commit("main", &format!("Step {n}"), &before);
            for (path, text) in &files[files.len() * n / commits..files.len() * (n + 1) / commits] {
                stream.file(path, text);
            }
            // Each secret comes and goes by itself.
            for (which, (path, text)) in self.gone.iter().enumerate() {
                let comes = 1 + which * (commits - THERE_FOR - 1) / self.gone.len();
                if n == comes {
                    stream.file(path, text);
                } else if n == comes + THERE_FOR {
                    stream.remove(path);
                }
            }
        }
        stream.end()
    }
}

/// The path of a script.
pub fn script(n: usize) -> String {
    format!("scripts/step_{n:03}.sh")
}

/// The path of a Dockerfile.
pub fn dockerfile(n: usize) -> String {
    format!("images/{n:02}/Dockerfile")
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtask::config::Config;

    #[test]
    fn a_tree_has_the_files_and_the_bytes_that_its_size_says() {
        for size in [SMALL, LARGE] {
            let tree = Tree::new(size, "3.12", BTreeMap::new(), "");
            assert_eq!(tree.files.len(), size.files);
            let bytes: usize = tree.files.values().map(String::len).sum();
            assert!(bytes.abs_diff(size.bytes) * 10 < size.bytes, "{bytes}");
            Config::parse(&tree.files["xtask/config/pipeline.toml"]).unwrap();
        }
    }

    #[test]
    fn each_secret_of_the_history_comes_and_goes() {
        let stream = Tree::new(SMALL, "3.12", BTreeMap::new(), "").history();
        assert_eq!(stream.matches("commit refs/heads/main").count(), SMALL.commits);
        assert_eq!(stream.matches("D gone/").count(), SMALL.planted);
    }
}
