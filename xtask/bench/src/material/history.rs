//! A repository with a long history and secrets in it, of which some are gone again, as one stream for
//! `git fast-import`.

use super::bulk;
use super::random::{BASE32, BASE64, Random};
use super::stream::Stream;

/// How many commits there are on the main line.
pub const COMMITS: usize = 10_000;

/// How many bytes of new lines each of them brings.
const NEW_IN_A_COMMIT: usize = 4_000;

/// Where a secret of the message of a commit is said to be.
pub const MESSAGE: &str = "message of a commit";

/// The name of a file that has a secret, and the one that it got later.
pub const MOVED: (&str, &str) = ("moved/old.py", "moved/new.py");

/// Where the secrets are, and why a scanner might not look there. Each has a file of its own.
pub const PLANTED: [(&str, &str); 25] = [
    ("plain/first.env", "in the very first commit"),
    ("plain/aws.ini", "still there"),
    ("plain/gitlab.yaml", "still there"),
    ("plain/pay.js", "still there"),
    ("plain/chat.py", "still there"),
    ("plain/key.pem", "still there"),
    ("plain/npm", "still there"),
    ("plain/database.env", "still there"),
    ("gone/file.env", "the file was removed"),
    ("gone/other.py", "the file was removed"),
    ("gone/folder/deep.json", "the file was removed"),
    ("gone/line.yaml", "the line was removed"),
    ("gone/next.md", "the line was removed"),
    ("branch/only.py", "on a branch that was never merged"),
    ("tag/only.py", "reached by a tag alone"),
    ("merge/evil.py", "brought by a merge commit, in neither parent"),
    (MOVED.0, "the file was renamed"),
    ("hidden/attributes.env", "`.gitattributes` calls the file binary"),
    ("hidden/latin.txt", "in a file that is not UTF-8"),
    ("hidden/bytes.dat", "between bytes that are zero"),
    ("hidden/a name with ü.py", "in a file with an unusual name"),
    ("hidden/node_modules/x.js", "in a folder that rules leave out"),
    ("hidden/allowed.py", "beside a comment that allows it"),
    ("hidden/ignored.py", "named by `.gitleaksignore`"),
    (MESSAGE, "in the message of a commit"),
];

/// Whether the branch `main` once had the secret at this path and its newest commit does not, wherever it lies now.
pub fn is_gone(path: &str, why: &str) -> bool {
    path == MESSAGE || why.ends_with("was removed")
}

/// Writes the stream.
struct History {
    stream: Stream,
    random: Random,
    /// The text of each file that may be changed once more.
    files: Vec<(String, String)>,
}

/// The stream. It is UTF-8, but [`latin`] is a file that cannot be in it: `latin` is the id of its blob.
pub fn stream(latin: &str) -> String {
    let stream = Stream::with_capacity(100_000_000);
    let mut history = History { stream, random: Random::new(4), files: vec![] };
    history.first();
    for n in 1..COMMITS {
        history.step(n, latin);
    }
    history.stream.end()
}

/// The bytes of the file in Latin-1.
pub fn latin() -> Vec<u8> {
    let mut bytes = b"Gr\xfc\xdfe\n".to_vec();
    bytes.extend_from_slice(format!("{}\n", token(&mut Random::new(5))).as_bytes());
    bytes
}

fn token(random: &mut Random) -> String {
    format!("ghp_{}", random.word(36))
}

impl History {
    fn main(&mut self, n: usize) -> usize {
        let mark = self.stream.mark();
        let from: Vec<usize> = (mark > 0).then_some(mark).into_iter().collect();
        self.stream.commit("main", &format!("Step {n}"), &from)
    }

    fn first(&mut self) {
        self.main(0);
        let token = token(&mut self.random);
        self.stream.file("plain/first.env", &format!("TOKEN={token}\n"));
        self.stream.file(".gitattributes", "hidden/attributes.env binary\n");
        self.stream.file(".gitleaksignore", "hidden/ignored.py:github-pat:2\n");
    }

    /// One commit of the main line: a secret where one is due, else new lines.
    fn step(&mut self, n: usize, latin: &str) {
        if n.is_multiple_of(300) && (1..PLANTED.len()).contains(&(n / 300)) {
            return self.plant(n, n / 300, latin);
        }
        // What is removed was there for a hundred commits.
        match n {
            2500 => return self.without(n, "gone/file.env", None),
            2800 => return self.without(n, "gone/other.py", None),
            3110 => return self.without(n, "gone/folder/deep.json", None),
            3410 => return self.without(n, "gone/line.yaml", Some("a: 1\nb: 3\n")),
            3710 => return self.without(n, "gone/next.md", Some("# Next\n")),
            4910 => {
                self.main(n);
                return self.stream.raw(&format!("R {} {}", MOVED.0, MOVED.1));
            }
            _ if n % 50 == 25 => return self.merged(n),
            _ => {}
        }
        self.main(n);
        let new = bulk::text(&mut self.random, NEW_IN_A_COMMIT);
        // Every other one changes a file that is there.
        let at =
            if n.is_multiple_of(2) || self.files.is_empty() { None } else { Some(self.random.below(self.files.len())) };
        let (path, text) = match at.map(|at| self.files.swap_remove(at)) {
            Some((path, old)) => (path, old + &new),
            None => (format!("part_{:02}/file_{n:05}.py", n / 200), new),
        };
        self.stream.file(&path, &text);
        self.files.push((path, text));
    }

    /// A branch of one commit, and the merge of it.
    fn merged(&mut self, n: usize) {
        let before = self.stream.mark();
        let side = self.stream.commit("side", &format!("Aside {n}"), &[before]);
        let text = bulk::text(&mut self.random, NEW_IN_A_COMMIT);
        self.stream.file(&format!("side/file_{n:05}.py"), &text);
        self.stream.commit("main", &format!("Merge {n}"), &[before, side]);
        self.stream.file(&format!("side/file_{n:05}.py"), &text);
    }

    fn without(&mut self, n: usize, path: &str, text: Option<&str>) {
        self.main(n);
        match text {
            Some(text) => self.stream.file(path, text),
            None => self.stream.remove(path),
        }
    }

    fn plant(&mut self, n: usize, which: usize, latin: &str) {
        let (path, _why) = PLANTED[which];
        let token = token(&mut self.random);
        let before = self.stream.mark();
        match path {
            "branch/only.py" => {
                self.stream.commit("never-merged", "Aside", &[before]);
                self.stream.file(path, &format!("t = '{token}'\n"));
                self.stream.commit("main", "And on", &[before]);
            }
            "tag/only.py" => {
                let tagged = self.stream.commit("soon-gone", "Released", &[before]);
                self.stream.file(path, &format!("t = '{token}'\n"));
                self.stream.raw(&format!(
                    "tag v1\nfrom :{tagged}\ntagger Bench <bench@localhost> 1700000000 +0000\ndata 2\nv1\n\
                     reset refs/heads/soon-gone\nfrom {}\n",
                    "0".repeat(40)
                ));
                self.stream.commit("main", "And on", &[before]);
            }
            "merge/evil.py" => {
                let side = self.stream.commit("side", "Aside", &[before]);
                self.stream.file("side/evil.py", "x = 1\n");
                self.stream.commit("main", "Merge", &[before, side]);
                self.stream.file("side/evil.py", "x = 1\n");
                self.stream.file(path, &format!("t = '{token}'\n"));
            }
            "hidden/latin.txt" => {
                self.main(n);
                self.stream.raw(&format!("M 100644 {latin} {path}"));
            }
            MESSAGE => {
                self.stream.commit("main", &format!("Use the new token {token}"), &[before]);
            }
            _ => {
                self.main(n);
                let text = self.text_of(path, &token);
                self.stream.file(path, &text);
            }
        }
    }

    fn text_of(&mut self, path: &str, token: &str) -> String {
        let r = &mut self.random;
        match path {
            "plain/aws.ini" => format!("aws_access_key_id = AKIA{}\n", r.text(BASE32, 16)),
            "plain/gitlab.yaml" => format!("token: glpat-{}\n", r.word(20)),
            "plain/pay.js" => format!("pay('sk_live_{}')\n", r.word(24)),
            "plain/chat.py" => format!("T = 'xoxb-{}-{}-{}'\n", r.text("123", 12), r.text("456", 13), r.word(24)),
            "plain/key.pem" => {
                let word = ["PRIVATE", "KEY"].join(" ");
                format!("-----BEGIN RSA {word}-----\n{}\n-----END RSA {word}-----\n", r.lines(24, "\n"))
            }
            "plain/npm" => format!("npm_{}\n", r.word(36)),
            "plain/database.env" => format!("URL=postgres://forge:{}@db.example.com/forge\n", r.word(20)),
            "gone/line.yaml" => format!("a: 1\ntoken: {token}\nb: 3\n"),
            "moved/old.py" => format!("{}t = '{token}'\n", bulk::text(r, 2000)),
            "hidden/bytes.dat" => format!("\0\0\0{}\0{token}\0\n", r.text(BASE64, 40)),
            "hidden/allowed.py" => format!("t = '{token}'  # gitleaks:allow\n"),
            _ => format!("# Next\nt = '{token}'\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_has_a_commit_and_each_removed_one_was_there() {
        let stream = stream(&"1".repeat(40));
        for (path, why) in &PLANTED[..PLANTED.len() - 1] {
            assert!(stream.contains(path), "{path}, {why}");
        }
        for (path, _) in PLANTED.iter().filter(|(_, why)| why.ends_with("was removed")) {
            assert!(stream.matches(path).count() >= 2, "{path}");
        }
        assert_eq!(stream.matches("Use the new token").count(), 1);
    }
}
