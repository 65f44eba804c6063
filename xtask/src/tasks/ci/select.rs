//! `--only` and `--skip`: which gates of the plan are run. Pure.

use anyhow::Result;

use crate::engine::gate::Gate;
use crate::exit::UsageError;

/// The selected gates, and the ids of those left out. A name that fits nothing is a usage error.
///
/// What a selected gate comes after or waits for is selected with it; what comes after a skipped gate is skipped too.
pub fn select(gates: Vec<Gate>, only: &[String], skip: &[String]) -> Result<(Vec<Gate>, Vec<String>)> {
    let ids: Vec<String> = gates.iter().map(|gate| gate.id.clone()).collect();
    for name in only.iter().chain(skip) {
        if !ids.iter().any(|id| fits(id, name)) {
            return Err(UsageError(unknown(name, &ids)).into());
        }
    }
    let mut wanted: Vec<bool> =
        ids.iter().map(|id| only.is_empty() || only.iter().any(|name| fits(id, name))).collect();
    // Gates stand after those that they need, so one walk in each direction is enough.
    for index in (0..gates.len()).rev() {
        if wanted[index] {
            for needed in gates[index].earlier() {
                ids.iter()
                    .zip(wanted.iter_mut())
                    .filter(|(id, _)| *id == needed)
                    .for_each(|(_, wanted)| *wanted = true);
            }
        }
    }
    for index in 0..gates.len() {
        let skipped = skip.iter().any(|name| fits(&ids[index], name));
        let lacks = gates[index].after.iter().any(|needed| ids.iter().zip(&wanted).any(|(id, &w)| id == needed && !w));
        if skipped || lacks {
            wanted[index] = false;
        }
    }
    let left_out = ids.iter().zip(&wanted).filter(|(_, wanted)| !**wanted).map(|(id, _)| id.clone()).collect();
    let selected = gates.into_iter().zip(&wanted).filter(|(_, wanted)| **wanted).map(|(gate, _)| gate).collect();
    Ok((selected, left_out))
}

/// A gate's own id, or the name of its task.
fn fits(id: &str, name: &str) -> bool {
    id == name || id.split('/').next() == Some(name)
}

fn unknown(name: &str, ids: &[String]) -> String {
    let mut tasks: Vec<&str> = ids.iter().flat_map(|id| [id.as_str(), id.split('/').next().unwrap_or(id)]).collect();
    tasks.sort_unstable();
    tasks.dedup();
    let nearest = tasks.iter().max_by_key(|known| (strsim::jaro_winkler(name, known) * 1000.0) as u32);
    let nearest = nearest.map(|known| format!("; the nearest is `{known}`")).unwrap_or_default();
    format!("no gate or task is called `{name}`{nearest} (`cargo xtask ci --plan text` lists them)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gate::testing::planned as gate;

    fn chosen(only: &[&str], skip: &[&str]) -> Vec<String> {
        let gates = vec![
            gate("hooks", &[]),
            gate("m/1", &[]),
            gate("m/2", &[]),
            gate("m/sum", &["m/1", "m/2"]),
            gate("docs", &[]),
            Gate { waits_for: vec!["docs".to_owned()], ..gate("late", &[]) },
        ];
        let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        let (gates, left_out) = select(gates, &owned(only), &owned(skip)).unwrap();
        assert_eq!(gates.len() + left_out.len(), 6);
        gates.into_iter().map(|gate| gate.id).collect()
    }

    #[test]
    fn gates_are_selected_by_id_or_task_with_what_they_need() {
        assert_eq!(chosen(&[], &[]).len(), 6);
        assert_eq!(chosen(&["docs"], &[]), ["docs"]);
        assert_eq!(chosen(&["m"], &[]), ["m/1", "m/2", "m/sum"]);
        assert_eq!(chosen(&["m/sum"], &[]), ["m/1", "m/2", "m/sum"]);
        assert_eq!(chosen(&["m/1"], &[]), ["m/1"]);
        assert_eq!(chosen(&[], &["m/2"]), ["hooks", "m/1", "docs", "late"]);
        assert_eq!(chosen(&["late"], &[]), ["docs", "late"]);
        assert_eq!(chosen(&["late"], &["docs"]), ["late"]);
        assert_eq!(chosen(&["m"], &["m/1"]), ["m/2"]);
    }

    #[test]
    fn an_unknown_name_is_a_usage_error_with_the_nearest() {
        let error = select(vec![gate("docs", &[])], &["dosc".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().contains("`dosc`; the nearest is `docs`"), "{error}");
    }
}
