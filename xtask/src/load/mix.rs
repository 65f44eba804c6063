//! Which request an iteration sends: by weight, in an order that is the same in every run.

use std::collections::BTreeMap;

pub use xtask_load::random::Random;

/// Blocks in which each route stands as often as its weight says, each block shuffled anew.
#[derive(Clone, Debug)]
pub struct Mix {
    block: Vec<usize>,
    at: usize,
    random: Random,
}

impl Mix {
    /// Routes are numbered in the order of their names.
    pub fn new(weights: &BTreeMap<String, u32>, seed: u64) -> Self {
        let divisor = weights.values().copied().fold(0, greatest_common_divisor).max(1);
        let of = |(route, weight): (usize, &u32)| std::iter::repeat_n(route, (weight / divisor) as usize);
        let block: Vec<usize> = weights.values().enumerate().flat_map(of).collect();
        Self { at: block.len(), block, random: Random(seed) }
    }

    /// The route of the next iteration.
    pub fn route(&mut self) -> usize {
        if self.at >= self.block.len() {
            self.at = 0;
            // Fisher and Yates.
            for last in (1..self.block.len()).rev() {
                self.block.swap(last, self.random.below(last + 1));
            }
        }
        self.at += 1;
        self.block.get(self.at - 1).copied().unwrap_or_default()
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_exact_and_the_order_is_not_a_cycle() {
        let weights = BTreeMap::from([("a".to_owned(), 30), ("b".to_owned(), 10), ("c".to_owned(), 0)]);
        let draw = |seed| {
            let mut mix = Mix::new(&weights, seed);
            (0..400).map(|_| mix.route()).collect::<Vec<_>>()
        };
        let drawn = draw(1);
        let count = |route| drawn.iter().filter(|&&found| found == route).count();
        assert_eq!((count(0), count(1), count(2)), (300, 100, 0));
        assert_eq!(drawn, draw(1));
        assert_ne!(drawn, draw(2));
        assert_ne!(drawn[..4], drawn[4..8], "each block is shuffled anew");
    }
}
