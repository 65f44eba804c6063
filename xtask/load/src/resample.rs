//! Latencies in blocks, drawn with replacement: what a percentile could as well have been (Künsch, "The jackknife and
//! the bootstrap for general stationary observations", Annals of Statistics 17, 1989). Neighbours in time are alike, so
//! blocks are drawn and not single latencies. Latencies are classes, numbered in their order; what a class means is the
//! caller's.

use std::collections::BTreeMap;

use crate::random::Random;

/// Class and how often it stands in a block.
pub type Counted = (u16, u32);

/// The blocks of one run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Classes count from `first`, so that little has to be looked through.
    blocks: Vec<Vec<Counted>>,
    first: u16,
    classes: usize,
}

impl Run {
    /// Blocks as lists, which are faster to add up than maps.
    pub fn new(mut blocks: Vec<Vec<Counted>>) -> Self {
        let classes = || blocks.iter().flatten().map(|(class, _)| *class);
        let (first, last) = (classes().min().unwrap_or_default(), classes().max().unwrap_or_default());
        blocks.iter_mut().flatten().for_each(|(class, _)| *class -= first);
        Self { blocks, first, classes: usize::from(last - first) + 1 }
    }

    /// Classes in the order of their time, cut into so many blocks as equal as can be.
    pub fn cut(classes: &[u16], blocks: usize) -> Self {
        let block = |number: usize| {
            let part = &classes[classes.len() * number / blocks..classes.len() * (number + 1) / blocks];
            let mut counts = BTreeMap::<u16, u32>::new();
            part.iter().for_each(|class| *counts.entry(*class).or_default() += 1);
            counts.into_iter().collect()
        };
        Self::new((0..blocks).map(block).collect())
    }

    /// The blocks of several runs.
    pub fn together(runs: &[Self]) -> Self {
        let list = |run: &Self, block: &[Counted]| block.iter().map(|(c, count)| (c + run.first, *count)).collect();
        Self::new(runs.iter().flat_map(|run| run.blocks.iter().map(move |block| list(run, block))).collect())
    }

    /// The class below or at which `share` of all latencies lie; `None` without any.
    pub fn quantile(&self, share: f64) -> Option<u16> {
        self.quantile_of(0..self.blocks.len(), share, &mut Vec::new())
    }

    /// The same of as many blocks as there are, drawn with replacement.
    pub fn resample(&self, share: f64, random: &mut Random) -> Option<u16> {
        let count = self.blocks.len();
        self.quantile_of((0..count).map(|_| random.below(count)), share, &mut Vec::new())
    }

    fn quantile_of(&self, picked: impl Iterator<Item = usize>, share: f64, counts: &mut Vec<u32>) -> Option<u16> {
        counts.clear();
        counts.resize(self.classes, 0);
        let mut all = 0_u64;
        for (class, count) in picked.flat_map(|block| &self.blocks[block]) {
            counts[usize::from(*class)] += count;
            all += u64::from(*count);
        }
        let rank = (all as f64 * share).ceil() as u64;
        let mut seen = 0;
        let class = counts.iter().position(|count| {
            seen += u64::from(*count);
            all > 0 && seen >= rank
        })?;
        u16::try_from(class).ok().map(|class| class + self.first)
    }
}

/// By how many classes a percentile of one run lies above that of another scatters by chance: the standard deviation over
/// many draws (Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979). Each draw takes
/// the same blocks of both: they were measured at the same time, and what slowed both down is no difference.
pub fn scatter(one: &Run, other: &Run, share: f64, draws: u32, random: &mut Random) -> Option<f64> {
    let blocks = one.blocks.len().min(other.blocks.len());
    let (mut counts, mut picked) = (Vec::new(), Vec::with_capacity(blocks));
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in 0..draws {
        picked.clear();
        picked.extend((0..blocks).map(|_| random.below(blocks)));
        let above = one.quantile_of(picked.iter().copied(), share, &mut counts);
        let below = other.quantile_of(picked.iter().copied(), share, &mut counts);
        let difference = f64::from(above?) - f64::from(below?);
        sum += difference;
        squares += difference * difference;
    }
    let draws = f64::from(draws);
    Some(((squares - sum * sum / draws) / (draws - 1.0)).max(0.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_class_that_enough_lie_below() {
        let classes: Vec<u16> = (101..=200).collect();
        let run = Run::cut(&classes, 7);
        for (share, class) in [(0.95, 195), (0.5, 150), (1.0, 200), (0.001, 101)] {
            assert_eq!(run.quantile(share), Some(class), "{share}");
        }
        assert_eq!(Run::together(&[Run::cut(&[1, 2], 1), Run::cut(&[9, 9], 2)]).quantile(0.6), Some(9));
        assert_eq!(Run::new(vec![]).quantile(0.95), None);
        assert_eq!(Run::cut(&[], 3).quantile(0.95), None);
    }

    #[test]
    fn draws_scatter_as_the_percentile_does_and_what_both_share_does_not_count() {
        let mut random = Random(3);
        let one: Vec<u16> = (0..2000).map(|_| 1000 + (random.normal() * 40.0).round() as u16).collect();
        let run = Run::cut(&one, 45);
        assert_eq!(scatter(&run, &run, 0.95, 100, &mut random), Some(0.0));
        let other: Vec<u16> = (0..2000).map(|_| 1030 + (random.normal() * 40.0).round() as u16).collect();
        let found = scatter(&Run::cut(&other, 45), &run, 0.95, 1000, &mut random).unwrap();
        // The error of a percentile: √(p(1−p)/n) / density, here 1.89 classes, and two of them.
        assert!((1.8..3.8).contains(&found), "{found}");
        assert_eq!(scatter(&run, &Run::cut(&[], 45), 0.95, 10, &mut random), None);
    }
}
