//! Which request an iteration sends: by weight, in an order that is the same in every run.

use std::collections::BTreeMap;

/// A generator of well-mixed numbers from a seed: SplitMix64, as its authors give it (Steele, Lea & Flood, "Fast
/// splittable pseudorandom number generators", OOPSLA 2014). Nothing here needs more, and a seed makes runs alike.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is above 0. The bias is that of a remainder, below 2⁻⁴⁰ for what is drawn here.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % end.max(1) as u64) as usize
    }
}

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
