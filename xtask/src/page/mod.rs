//! Pages for people: one file that holds everything, with pictures where a script may run.
//!
//! Owns what all pages share: the document with its content security policy, the style, uPlot (`uplot/`, MIT, 50 KB
//! without dependencies) and what draws with it (`plot.js`), tables, and numbers as they are written. What a page says is
//! its own: `load/page`, `dashboard`. Text from outside is escaped by construction (maud).

mod number;
mod table;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub use number::{digits, grouped, minute, percent, span};
pub use table::{NONE, shown, table};

const BASE_STYLE: &str = include_str!("base.css");
const PLOT_STYLE: &str = include_str!("uplot/uPlot.min.css");
const UPLOT: &str = include_str!("uplot/uPlot.iife.min.js");
const PLOT: &str = include_str!("plot.js");

/// What makes a page this page.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// Its title.
    pub title: &'a str,
    /// Its own style, after the one that all pages share.
    pub style: &'a str,
    /// Its own scripts, after uPlot and `plot.js`.
    pub scripts: &'a [&'a str],
    /// What its scripts read from the element `data`.
    pub data: &'a Value,
}

impl Page<'_> {
    /// The document around `body`.
    pub fn around(&self, body: &Markup) -> String {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(self.policy());
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    @for style in self.styles() { style { (PreEscaped(style)) } }
                }
                body {
                    (body)
                    script #data type="application/json" { (PreEscaped(in_script(self.data))) }
                    @for script in self.all_scripts() { script { (PreEscaped(script)) } }
                }
            }
        }
        .into_string()
    }

    /// Only what is in this file may have an effect, and of it only these scripts and styles.
    pub fn policy(&self) -> String {
        let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())));
        let hashes = |texts: Vec<&str>| texts.into_iter().map(hash).collect::<Vec<_>>().join(" ");
        format!(
            "default-src 'none'; script-src {}; style-src {}; base-uri 'none'; form-action 'none'",
            hashes(self.all_scripts()),
            hashes(self.styles()),
        )
    }

    fn styles(&self) -> Vec<&str> {
        [PLOT_STYLE, BASE_STYLE, self.style].into_iter().filter(|style| !style.is_empty()).collect()
    }

    fn all_scripts(&self) -> Vec<&str> {
        [UPLOT, PLOT].into_iter().chain(self.scripts.iter().copied()).collect()
    }
}

/// JSON inside of a script element. A `<` could end the element that it stands in.
fn in_script(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
pub mod testing {
    //! What every page is held to.
    use super::*;

    /// The page loads nothing, and runs exactly the scripts and styles whose bytes its policy names.
    #[track_caller]
    pub fn assert_closed(page: &str, scripts: usize) {
        for outside in [" src=", "@import", "url(", "<link", "fetch(", "<!--", " style=\"", " onclick"] {
            assert!(!page.contains(outside), "{outside}");
        }
        let between = |open: &str, close: &str| -> Vec<String> {
            let parts = page.split(open).skip(1).filter_map(|part| part.split(close).next());
            parts.map(|text| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())))).collect()
        };
        let run = between("<script>", "</script>");
        assert_eq!(run.len(), scripts);
        assert_eq!(page.matches("<script").count(), scripts + 1, "the data and the scripts");
        assert_eq!(page.matches("</script").count(), scripts + 1);
        let policy = page.split("Content-Security-Policy\" content=\"").nth(1).unwrap().split('"').next().unwrap();
        let named = policy.matches("'sha256-").count();
        let hashes = [run, between("<style>", "</style>")].concat();
        assert_eq!(named, hashes.len());
        for hash in hashes {
            assert!(policy.contains(&hash), "{hash} is not in {policy}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `npm pack uplot@1.6.32` has them (npm's integrity of that archive: sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTX
    /// ImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw==).
    #[test]
    fn the_library_has_the_bytes_that_its_authors_published() {
        let hash =
            |text: &str| Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hash(UPLOT), "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f");
        assert_eq!(hash(PLOT_STYLE), "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04");
    }

    #[test]
    fn data_ends_no_element() {
        let evil = serde_json::json!({ "</script><script>alert(1)</script>": "<!--<script>" });
        let page = Page { title: "</title><b>", style: "", scripts: &[], data: &evil }.around(&html! { p { "a" } });
        testing::assert_closed(&page, 2);
        assert!(page.contains("<title>&lt;/title&gt;&lt;b&gt;</title>"));
        let text = page.split("application/json\">").nth(1).unwrap().split("</script>").next().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), evil, "escaped, and the same");
    }
}
