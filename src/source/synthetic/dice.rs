//! Dice: random numbers that depend on nothing but the seed, a subject and a number.
//!
//! Each deal, customer, owner and month has dice of its own, so that any of them can be made
//! again, in any order and on any thread, with the same result. Nothing here is fit for secrets.

use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64Mcg;

/// What the dice are thrown for; subjects never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// Whose deal a deal is.
    Origin,
    /// What happens to a deal.
    Deal,
    /// Where a customer sits and how large it is.
    Customer,
    /// How good and how quick an owner is.
    Owner,
    /// How busy a month is.
    Month,
    /// What is spent.
    Spend,
}

/// The dice of one subject.
pub(super) struct Dice(Pcg64Mcg);

impl Dice {
    /// The dice of subject number `number` under `seed`.
    pub(super) fn new(seed: u64, subject: Subject, number: u64) -> Self {
        let stream = mix(seed ^ mix(subject as u64 + 1));
        let low = mix(stream ^ mix(number));
        let high = mix(low ^ stream);
        Self(Pcg64Mcg::new((u128::from(high) << 64) | u128::from(low)))
    }

    /// A number in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        self.0.random::<f64>()
    }

    /// Whether something of probability `p` happens.
    pub(super) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A standard normal number.
    pub(super) fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// A factor around 1: the exponential of a normal number of standard deviation `sigma`.
    pub(super) fn factor(&mut self, sigma: f64) -> f64 {
        (sigma * self.normal()).exp()
    }

    /// An exponential waiting time of the given mean.
    pub(super) fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// The position of one of `weights`, chosen in proportion to them; 0 where there are none.
    pub(super) fn pick(&mut self, weights: impl Iterator<Item = f64> + Clone) -> usize {
        let total: f64 = weights.clone().sum();
        let mut left = self.unit() * total;
        let mut last = 0;
        for (i, weight) in weights.enumerate() {
            if weight > 0.0 {
                last = i;
                if left < weight {
                    return i;
                }
            }
            left -= weight;
        }
        // Rounding can leave a trace of `left` behind; it belongs to the last one possible.
        last
    }
}

/// Spreads the bits of a number over all 64, one to one.
///
/// Source: Steele, Lea, Flood, 2014, Fast splittable pseudorandom number generators.
pub(super) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
