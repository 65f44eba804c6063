//! Much text without a secret: what a scanner spends its time with.

use super::random::Random;

/// Words of which lines are made.
pub const WORDS: [&str; 32] = [
    "account", "answer", "batch", "cache", "client", "config", "count", "cursor", "event", "field", "filter",
    "handler", "index", "item", "key", "limit", "message", "model", "name", "offset", "password", "queue", "request",
    "response", "result", "session", "state", "stream", "token", "user", "value", "worker",
];

/// So many files and bytes a tree holds.
pub const TREE: (usize, usize) = (3_000, 40_000_000);

/// One line as people write them: code, a comment, a value, now and then a hash.
pub fn line(random: &mut Random) -> String {
    let [a, b, c] = [random.pick(&WORDS), random.pick(&WORDS), random.pick(&WORDS)];
    match random.below(16) {
        0 => String::new(),
        1 => format!("# The {a} of the {b} is not the {c} of another {a}."),
        2 => format!("def {a}_{b}(self, {c}: int = {}) -> None:", random.below(1000)),
        3 => format!("    \"{a}_{b}\": [{}, {}],", random.below(10_000), random.below(10_000)),
        4 => format!("from {a}.{b} import {c}_{b}"),
        5 => format!("  {a}-{b}: {{{c}: true, {b}: {}}}", random.below(100)),
        6 => format!("    if {a}.{b}({c}) > {} and not {b}:", random.below(100)),
        7 if random.below(20) == 0 => format!("    --hash=sha256:{}", random.hex(64)),
        _ => format!("        self.{a} = {b}.{c}({a}, {b}[{}], {c}={a})", random.below(100)),
    }
}

/// Lines of at least so many bytes in all.
pub fn text(random: &mut Random, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 100);
    while text.len() < bytes {
        text.push_str(&line(random));
        text.push('\n');
    }
    text
}

/// The files of a tree, one after the other.
pub fn tree() -> impl Iterator<Item = (String, String)> {
    let (files, bytes) = TREE;
    let mut random = Random::new(3);
    (0..files).map(move |n| {
        let kind = ["py", "ts", "yaml", "md", "json"][n % 5];
        // Some are small and some large, as in life.
        let size = bytes / files / 2 + random.below(bytes / files);
        (format!("part_{:02}/file_{n:04}.{kind}", n / 60), text(&mut random, size))
    })
}
