//! Tables, which hold every figure of every picture.

use maud::{Markup, html};

use super::digits;

/// No figure.
pub const NONE: &str = "–";

/// A figure, or that there is none.
pub fn shown(value: Option<f64>) -> String {
    value.map_or(NONE.to_owned(), digits)
}

/// A table that can be scrolled by keyboard where it is too wide or too long.
pub fn table(name: &str, head: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label=(name) {
            table {
                caption { (name) }
                thead { tr { @for cell in head { th scope="col" { (cell) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (index, cell) in row.iter().enumerate() {
                                @if index == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
