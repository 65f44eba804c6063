//! A folder with secrets and look-alikes of which every line is known, and what a scanner made of it.

use std::collections::{BTreeMap, BTreeSet};

use super::planted::Planted;
use super::{benign, planted};
use crate::material::random::Random;

/// A secret or a look-alike, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What it is.
    pub kind: &'static str,
    /// The file, relative to the folder.
    pub path: String,
    /// Its first line, counted from 1.
    pub first: usize,
    /// Its last line.
    pub last: usize,
    /// Whether it is a secret.
    pub secret: bool,
}

/// Files and what is in them.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// Path → text.
    pub files: BTreeMap<String, String>,
    /// What they hold.
    pub items: Vec<Item>,
}

/// What a scanner named: a file, and the first and the last line.
pub type Found = (String, usize, usize);

/// How well a scanner did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// How many secrets there are.
    pub secrets: usize,
    /// Kind and file of those that it did not name.
    pub missed: Vec<String>,
    /// File and line of what it named and is none.
    pub wrong: Vec<String>,
}

impl Score {
    /// How many secrets it named.
    pub fn named(&self) -> usize {
        self.secrets - self.missed.len()
    }
}

impl Corpus {
    /// The same in each run.
    pub fn new() -> Self {
        let mut random = Random::new(20_250_101);
        let mut corpus = Self::default();
        let lookalikes = benign::all(&mut random);
        planted::all(&mut random).into_iter().for_each(|planted| corpus.add(planted, true));
        lookalikes.into_iter().for_each(|planted| corpus.add(planted, false));
        corpus
    }

    /// After what the file holds already, with lines between that mean nothing.
    fn add(&mut self, (kind, path, text): Planted, secret: bool) {
        let file = self.files.entry(path.to_owned()).or_default();
        file.push_str("\n\n\n");
        let before = file.matches('\n').count();
        // What is put around a secret is not a part of it.
        let lead = text.len() - text.trim_start_matches(['\r', '\n']).len();
        let first = before + text[..lead].matches('\n').count() + 1;
        file.push_str(&text);
        file.push('\n');
        let last = file.matches('\n').count();
        self.items.push(Item { kind, path: path.to_owned(), first, last, secret });
    }

    /// How many of one sort it holds.
    pub fn count(&self, secret: bool) -> usize {
        self.items.iter().filter(|item| item.secret == secret).count()
    }

    /// What a scanner made of it.
    pub fn score(&self, found: &BTreeSet<Found>) -> Score {
        let names =
            |item: &Item, (path, first, last): &Found| *path == item.path && item.first <= *last && *first <= item.last;
        let secrets = || self.items.iter().filter(|item| item.secret);
        let missed = secrets().filter(|item| !found.iter().any(|found| names(item, found)));
        let wrong = found.iter().filter(|found| !secrets().any(|item| names(item, found)));
        Score {
            secrets: self.count(true),
            missed: missed.map(|item| format!("{} in {}", item.kind, item.path)).collect(),
            wrong: wrong.map(|(path, first, _last)| format!("{path}:{first}")).collect(),
        }
    }
}

/// The bytes of a file: all of it UTF-8, but for one in Latin-1.
pub fn bytes(path: &str, text: &str) -> Vec<u8> {
    match path {
        "docs/gruss.txt" => text.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect(),
        _ => text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_enough_of_both() {
        let corpus = Corpus::new();
        assert!(corpus.count(true) >= 40, "{}", corpus.count(true));
        assert!(corpus.count(false) >= 60, "{}", corpus.count(false));
        assert_eq!(corpus.files, Corpus::new().files);
    }

    #[test]
    fn an_item_is_where_it_says() {
        let corpus = Corpus::new();
        let of = |kind: &str| corpus.items.iter().find(|item| item.kind == kind).unwrap();
        let lines = |item: &Item| -> Vec<String> {
            let lines = corpus.files[&item.path].lines().skip(item.first - 1).take(item.last + 1 - item.first);
            lines.map(str::to_owned).collect()
        };
        assert!(lines(of("RSA private key"))[0].starts_with("-----BEGIN"));
        assert!(lines(of("RSA private key")).last().unwrap().ends_with("KEY-----"));
        assert!(lines(of("token after CRLF"))[0].starts_with("set TOKEN="));
    }

    #[test]
    fn what_is_not_a_secret_is_wrong_wherever_it_is() {
        let corpus = Corpus::new();
        let item = corpus.items.iter().find(|item| item.secret).unwrap();
        let found = BTreeSet::from([(item.path.clone(), item.last, item.last + 9), ("nowhere".to_owned(), 1, 2)]);
        let score = corpus.score(&found);
        assert_eq!((score.named(), score.wrong), (1, vec!["nowhere:1".to_owned()]));
    }
}
