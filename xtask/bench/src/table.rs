//! Results → Markdown. Pure.

use crate::row::{Aim, Row, Value};
use crate::{Measured, Results};
use xtask::verdict::Work;

const HEAD: &str = "| what | median | min | max | runs | ours ÷ this | aim | |\n|---|--:|--:|--:|--:|--:|---|---|\n";

/// The machine, then a table and its commands for each group.
pub fn markdown(results: &Results) -> String {
    let facts: Vec<String> =
        results.host.iter().map(|fact| format!("- {}: {}\n", fact.name, code(&fact.value))).collect();
    let groups: Vec<String> = results.groups.iter().map(group).collect();
    format!("{}\n{}", facts.concat(), groups.join("\n"))
}

fn group(measured: &Measured) -> String {
    let rows: String = measured.rows.iter().map(row).collect();
    let commands: String = measured
        .rows
        .iter()
        .filter(|row| !row.command.is_empty())
        .map(|row| format!("- {}: {}\n", plain(&row.name), code(&row.command)))
        .collect();
    format!("### {}\n\n{HEAD}{rows}\n{commands}", measured.title)
}

fn row(row: &Row) -> String {
    let [median, min, max, runs] = match &row.value {
        Value::Times(stats) => [time(stats.median_ms), time(stats.min_ms), time(stats.max_ms), stats.runs.to_string()],
        Value::Computed(ms) => [time(*ms), String::new(), String::new(), String::new()],
        Value::Count(count) => [count.to_string(), String::new(), String::new(), String::new()],
        Value::Rates(rates) => [rate(rates.median), rate(rates.min), rate(rates.max), rates.runs.to_string()],
        Value::Ratio(ratio) => [format!("{ratio:.2} ×"), String::new(), String::new(), String::new()],
        Value::Percent(share) => [format!("{share:.2} %"), String::new(), String::new(), String::new()],
        Value::Said(text) => [cell(text), String::new(), String::new(), String::new()],
        Value::DidNotRun(why) => [format!("did not run: {}", cell(why)), String::new(), String::new(), String::new()],
    };
    let ratio = row.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    let aim = row.aim.as_ref().map(aim).unwrap_or_default();
    let met = match (&row.aim, row.met) {
        (None, _) => "",
        (Some(_), Some(true)) => "met",
        (Some(_), Some(false)) => "**MISSED**",
        (Some(_), None) => "**no figure**",
    };
    format!("| {}{} | {median} | {min} | {max} | {runs} | {ratio} | {aim} | {met} |\n", plain(&row.name), done(row))
}

/// What was done, and what was found.
fn done(row: &Row) -> String {
    let findings = row.findings.map(|count| Work::new(count as u64, "findings").to_string());
    let said: Vec<String> = row.work.iter().map(Work::to_string).chain(findings).collect();
    if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) }
}

/// Text from outside: in a code span nothing of it is markup, a mention or a link.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('\n', " "))
}

/// The same in a cell, which a bar would end.
fn cell(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// The names of rows are ours and may hold code marks; only what would end the cell has to go.
fn plain(name: &str) -> String {
    name.replace('|', "/").replace('\n', " ")
}

fn aim(aim: &Aim) -> String {
    match aim {
        Aim::Within(ms) => format!("≤ {}", time(*ms as f64)),
        Aim::TimesOf(factor, row) => format!("≤ {factor:.2} × {}", plain(row)),
        Aim::Exactly(count) => format!("= {count}"),
        Aim::AtLeast(least) => format!("≥ {least}"),
        Aim::AtMost(most) => format!("≤ {most}"),
        Aim::Between(from, to) => format!("{} to {}", time(*from as f64), time(*to as f64)),
    }
}

fn rate(each_second: f64) -> String {
    format!("{each_second:.0}/s")
}

/// Three digits that mean something.
fn time(ms: f64) -> String {
    match ms {
        ..10.0 => format!("{ms:.1} ms"),
        10.0..1000.0 => format!("{ms:.0} ms"),
        1000.0..10_000.0 => format!("{:.2} s", ms / 1000.0),
        _ => format!("{:.1} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Stats;
    use crate::{Group, host, row};

    #[test]
    fn times_have_three_digits() {
        for (ms, text) in
            [(1.23, "1.2 ms"), (35.4, "35 ms"), (999.4, "999 ms"), (1234.0, "1.23 s"), (98_760.0, "98.8 s")]
        {
            assert_eq!(time(ms), text);
        }
    }

    #[test]
    fn a_group_is_a_table_and_its_commands() {
        let stats = Stats { median_ms: 31.4, min_ms: 30.0, max_ms: 40.0, runs: 5 };
        let ours = Row { command: "xtask ci".into(), ..Row::new("`ci`", Value::Times(stats)).aim(Aim::Within(60)) };
        let work = Some(Work::new(1, "files"));
        let peer =
            Row { beside: Some("`ci`".into()), work, findings: Some(2), ..Row::new("peer", Value::Computed(62.8)) };
        let gone = Row::new("turbo", Value::DidNotRun("no npm | here".into())).aim(Aim::Exactly(1));
        let rows = row::judged(vec![ours, peer, gone]);
        let host = vec![host::Fact { name: "cores", value: "2".into() }];
        let groups = vec![Measured { group: Group::Unchanged, title: "Nothing has changed", rows }];
        let expected = "- cores: `2`\n\n### Nothing has changed\n\n\
            | what | median | min | max | runs | ours ÷ this | aim | |\n|---|--:|--:|--:|--:|--:|---|---|\n\
            | `ci` | 31 ms | 30 ms | 40 ms | 5 |  | ≤ 60 ms | met |\n\
            | peer (1 file, 2 findings) | 63 ms |  |  |  | 0.50 |  |  |\n\
            | turbo | did not run: `no npm \\| here` |  |  |  |  | = 1 | **no figure** |\n\
            \n- `ci`: `xtask ci`\n";
        assert_eq!(markdown(&Results { host, groups }), expected);
    }
}
