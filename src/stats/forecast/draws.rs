//! Many simulated futures: which of those that may happen do, in which period, and what they add up
//! to.
//!
//! Invariant: whether one happens in a future depends on the seed, on itself and on the number of the
//! future alone, so that neither threads nor the order or number of the others change it.

use rand::RngExt as _;
use rand_distr::{Distribution as _, Normal, Poisson};
use rand_pcg::Pcg64Mcg;
use rayon::prelude::*;

use crate::stats::float;

/// The finaliser of SplitMix64: every bit of the result depends on every bit given.
///
/// Source: Steele, Lea and Flood, 2014, Fast Splittable Pseudorandom Number Generators.
#[must_use]
#[inline]
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Bits of a random number that decide.
const BITS: u32 = 53;

/// A probability as a limit of such numbers.
fn limit(p: f64) -> u64 {
    (p.clamp(0.0, 1.0) * (1_u64 << BITS) as f64) as u64
}

/// Something that may happen once.
#[derive(Debug, Clone, Copy)]
struct Prospect {
    key: u64,
    /// Limit of its happening at all.
    ever: u64,
    amount: i64,
    kind: u32,
}

/// All that may happen.
#[derive(Debug, Clone, Default)]
pub struct Prospects {
    /// Of each kind the limits of happening by the end of each period.
    kinds: Vec<Vec<u64>>,
    all: Vec<Prospect>,
}

impl Prospects {
    /// A kind by the probabilities of happening by the end of each period, ascending; its number.
    pub fn kind(&mut self, by: &[f64]) -> u32 {
        self.kinds.push(by.iter().map(|p| limit(*p)).collect());
        (self.kinds.len() - 1) as u32
    }

    /// One of a kind, with what it adds; `key` is different for each.
    pub fn push(&mut self, key: u64, kind: u32, amount: i64) {
        let of_kind = self.kinds.get(kind as usize);
        let ever = of_kind.and_then(|by| by.last()).copied().unwrap_or(0);
        self.all.push(Prospect { key, ever, amount, kind });
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The sums of each future by period.
    #[must_use]
    pub fn simulate(&self, draws: u32, seed: u64) -> Vec<Vec<i64>> {
        let periods = self.kinds.first().map_or(0, Vec::len);
        (0..draws)
            .into_par_iter()
            .map(|draw| {
                let base = mix(seed ^ mix(u64::from(draw)));
                let mut sums = vec![0_i64; periods];
                for own in &self.all {
                    let number = mix(own.key.wrapping_add(base)) >> (u64::BITS - BITS);
                    if number >= own.ever {
                        continue;
                    }
                    let by = self.kinds.get(own.kind as usize).map_or(&[][..], Vec::as_slice);
                    let period = by.partition_point(|limit| *limit <= number);
                    if let Some(sum) = sums.get_mut(period) {
                        *sum = sum.saturating_add(own.amount);
                    }
                }
                sums
            })
            .collect()
    }
}

/// What is yet to come: how many are expected in each period, and how large they are.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    expected: Vec<f64>,
    /// Cumulated shares of the sizes, and their amounts.
    sizes: Vec<(f64, f64)>,
    mean: f64,
    variance: f64,
}

/// More in one period are added up as a normal sum.
const SINGLY_MAX: f64 = 300.0;

impl Arrivals {
    /// From the expected number in each period and sizes: how many had a size, and their amount.
    #[must_use]
    pub fn new(expected: Vec<f64>, sizes: &[(i64, i64)]) -> Self {
        let total = float(sizes.iter().map(|(n, _)| n).sum());
        let (mut so_far, mut mean, mut square) = (0.0, 0.0, 0.0);
        let mut shares = Vec::with_capacity(sizes.len());
        for (n, amount) in sizes.iter().filter(|(n, _)| *n > 0) {
            let (share, own) = (float(*n) / total, *amount as f64 / float(*n));
            so_far += share;
            mean += share * own;
            square += share * own * own;
            shares.push((so_far, own));
        }
        Self { expected, sizes: shares, mean, variance: (square - mean * mean).max(0.0) }
    }

    /// The amount that comes in each period, on average.
    pub fn amounts(&self) -> impl Iterator<Item = f64> {
        self.expected.iter().map(|n| n * self.mean)
    }

    /// What comes in each period of one future.
    #[must_use]
    pub fn simulate(&self, draw: u32, seed: u64) -> Vec<i64> {
        let of_period = |(period, expected): (usize, &f64)| {
            let stream = mix(mix(seed ^ 0x5EED) ^ mix(u64::from(draw) << 32 | period as u64));
            let mut dice = Pcg64Mcg::new(u128::from(stream) << 64 | u128::from(mix(stream)));
            let Ok(number) = Poisson::new(*expected) else { return 0 };
            let n: f64 = number.sample(&mut dice);
            if n > SINGLY_MAX {
                let sum = Normal::new(n * self.mean, (n * self.variance).sqrt());
                return sum.map_or(0, |sum| sum.sample(&mut dice) as i64);
            }
            let mut sum = 0.0;
            for _ in 0..n as u32 {
                let share: f64 = dice.random();
                let place = self.sizes.partition_point(|(until, _)| *until <= share);
                let own = self.sizes.get(place).or_else(|| self.sizes.last());
                sum += own.map_or(0.0, |(_, amount)| *amount);
            }
            sum as i64
        };
        self.expected.iter().enumerate().map(of_period).collect()
    }
}

/// The order statistic of a share: the least number such that the share of all is not above it.
///
/// Edge cases: `None` of nothing. The numbers are in ascending order.
#[must_use]
pub fn order_statistic(sorted: &[i64], p: f64) -> Option<i64> {
    let rank = (p * sorted.len() as f64 - 1e-9).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thousand that happen in the first period with 30 %, in the second with 20 %.
    fn thousand(order: impl Iterator<Item = u64>) -> Prospects {
        let mut prospects = Prospects::default();
        let kind = prospects.kind(&[0.3, 0.5]);
        for number in order {
            prospects.push(mix(number), kind, 10);
        }
        prospects
    }

    #[test]
    fn sums_have_the_moments_of_binomials() {
        let draws = thousand(0..1_000).simulate(4_000, 7);
        for (period, p) in [(0, 0.3), (1, 0.2)] {
            let sums: Vec<f64> = draws.iter().map(|sums| sums[period] as f64 / 10.0).collect();
            let mean = sums.iter().sum::<f64>() / 4_000.0;
            let variance = sums.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 4_000.0;
            // Standard errors: √(n p q / 4000) = .23 and .20; of the variance about 2.2 %.
            assert!((mean - 1_000.0 * p).abs() < 0.8, "{mean}");
            let expected = 1_000.0 * p * (1.0 - p);
            assert!((variance / expected - 1.0).abs() < 0.09, "{variance} for {expected}");
        }
        // One happens once: the two periods' sums are those of a multinomial, whose covariance is
        // −1000 × .3 × .2 = −60.
        let product =
            draws.iter().map(|s| (s[0] as f64 / 10.0 - 300.0) * (s[1] as f64 / 10.0 - 200.0));
        let covariance = product.sum::<f64>() / 4_000.0;
        assert!((covariance + 60.0).abs() < 11.0, "{covariance}");
    }

    #[test]
    fn neither_order_nor_threads_nor_others_change_a_future() {
        let forward = thousand(0..1_000).simulate(50, 7);
        assert_eq!(forward, thousand((0..1_000).rev()).simulate(50, 7));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(forward, pool.install(|| thousand(0..1_000).simulate(50, 7)));
        assert_eq!(forward[..20], thousand(0..1_000).simulate(20, 7));
        assert_ne!(forward, thousand(0..1_000).simulate(50, 8));
        // What one of them adds is the same without the other 999.
        let alone = thousand(3..4).simulate(50, 7);
        let without = thousand((0..1_000).filter(|n| *n != 3)).simulate(50, 7);
        for ((all, one), rest) in forward.iter().zip(&alone).zip(&without) {
            assert_eq!(all[0] - rest[0], one[0]);
            assert_eq!(all[1] - rest[1], one[1]);
        }
    }

    #[test]
    fn certain_ones_always_happen_and_impossible_ones_never() {
        let mut prospects = Prospects::default();
        let (sure, never) = (prospects.kind(&[0.0, 1.0]), prospects.kind(&[0.0, 0.0]));
        prospects.push(1, sure, 5);
        prospects.push(2, never, 1_000);
        assert!(prospects.simulate(300, 1).iter().all(|sums| sums == &[0, 5]));
    }

    #[test]
    fn arrivals_have_the_moments_of_compound_poisson_sums() {
        // Half are worth 100, half 300: mean 200, E[a²] = 50,000; few one by one, many as one sum.
        for expected in [4.0, 1_000.0] {
            let arrivals = Arrivals::new(vec![expected], &[(2, 200), (2, 600)]);
            assert_eq!(arrivals.amounts().collect::<Vec<_>>(), [expected * 200.0]);
            let sums: Vec<f64> =
                (0..4_000).map(|draw| arrivals.simulate(draw, 3)[0] as f64).collect();
            let mean = sums.iter().sum::<f64>() / 4_000.0;
            let variance = sums.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 4_000.0;
            let sigma = (expected * 50_000.0).sqrt();
            assert!((mean - expected * 200.0).abs() < 4.0 * sigma / 4_000_f64.sqrt(), "{mean}");
            assert!((variance / (sigma * sigma) - 1.0).abs() < 0.1, "{variance}");
        }
    }

    #[test]
    fn order_statistics_are_numbers_that_were_drawn() {
        let sorted: Vec<i64> = (1..=10).collect();
        let at = |p| order_statistic(&sorted, p);
        assert_eq!([0.0, 0.1, 0.11, 0.5, 0.9, 1.0].map(at), [1, 1, 2, 5, 9, 10].map(Some));
        assert_eq!(order_statistic(&[], 0.5), None);
    }
}
