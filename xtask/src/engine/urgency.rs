//! In which order gates are started, and which of them gives way: the longest chain is what a run takes.
//!
//! Chains are told by their links and not by remembered times: what a gate took beside others says
//! little about what it takes, and to steer by it makes the order swing from run to run.

use super::gate::Gate;

/// The nice value of a gate that nobody waits for, beside some that others do: it gets the time that they leave.
const LATER: i32 = 15;

/// Indexes of gates in the order in which they are best started, and the nice value of each gate.
pub fn rank(gates: &[Gate]) -> (Vec<usize>, Vec<i32>) {
    let is_needed = |gate: &Gate| gates.iter().any(|other| other.earlier().any(|id| *id == gate.id));
    let needed: Vec<bool> = gates.iter().map(is_needed).collect();
    let (first, rest): (Vec<usize>, Vec<usize>) = (0..gates.len()).partition(|&index| needed[index]);
    let gives_way = |index: usize| !first.is_empty() && !needed[index] && gates[index].earlier().next().is_none();
    let nice = (0..gates.len()).map(|index| if gives_way(index) { LATER } else { 0 }).collect();
    (first.into_iter().chain(rest).collect(), nice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::gate::testing::planned as gate;

    #[test]
    fn what_others_wait_for_goes_first_and_what_nobody_waits_for_gives_way() {
        let gates = [gate("hooks", &[]), gate("a", &[]), gate("b", &[]), gate("sum", &["a", "b"])];
        assert_eq!(rank(&gates), (vec![1, 2, 0, 3], vec![LATER, 0, 0, 0]));
        // Where nobody waits for anything nobody gives way.
        assert_eq!(rank(&gates[..2]), (vec![0, 1], vec![0, 0]));
    }
}
