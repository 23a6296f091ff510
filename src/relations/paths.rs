//! How the path of a deal, the stages of its visits in order, is written into whole numbers.
//!
//! A path is a key like any other: exact, equal wherever it is computed, and without a dictionary
//! that all threads would have to share. Each stage takes as many bits as the run's stages need.
//!
//! Invariant: two paths of at most [`PathCode::visits_max`] visits have the same words if and only
//! if they are the same; all longer ones have [`LONGER`].

/// Words of a path; a dozen stages make 60 visits.
pub const WORDS: usize = 4;

/// Bits of a word that are used: words are never negative but for [`LONGER`].
const BITS_A_WORD: u32 = 63;

/// A path of more visits than the words hold.
pub const LONGER: [i64; WORDS] = [-1, 0, 0, 0];

/// How a run's paths are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathCode {
    bits: u32,
}

impl PathCode {
    /// For stages whose codes are below a number.
    #[must_use]
    pub fn new(stages: usize) -> Self {
        // Nothing is written as 0, so the codes are written one higher.
        let most = u64::try_from(stages).unwrap_or(u64::MAX);
        Self { bits: (u64::BITS - most.leading_zeros()).clamp(1, BITS_A_WORD) }
    }

    /// The longest path that is told from others.
    #[must_use]
    pub fn visits_max(self) -> usize {
        self.a_word() * WORDS
    }

    fn a_word(self) -> usize {
        (BITS_A_WORD / self.bits) as usize
    }

    /// The words of a path.
    #[must_use]
    pub fn encode(self, stages: impl Iterator<Item = u32>) -> [i64; WORDS] {
        let mut words = [0_i64; WORDS];
        for (visit, stage) in stages.enumerate() {
            let Some(word) = words.get_mut(visit / self.a_word()) else { return LONGER };
            let place = (visit % self.a_word()) as u32 * self.bits;
            *word |= (i64::from(stage) + 1) << place;
        }
        words
    }

    /// The words of the deals' paths, from their numbers of visits and the stages of all of them,
    /// each with its deal's row, in order. Of a deal with very many visits some may be missing.
    #[must_use]
    pub fn encode_all(
        self,
        visits_n: impl Iterator<Item = usize>,
        stages: impl Iterator<Item = (u32, u32)>,
    ) -> Vec<[i64; WORDS]> {
        let mut stages = stages.peekable();
        let mut path = |(deal, visits_n): (u32, usize)| {
            let mut own = std::iter::from_fn(|| stages.next_if(|(of, _)| *of == deal));
            let words = self.encode(own.by_ref().map(|(_, stage)| stage));
            // What the words do not hold is passed by, so that the next deal finds its own.
            own.for_each(drop);
            if visits_n > self.visits_max() { LONGER } else { words }
        };
        (0..).zip(visits_n).map(&mut path).collect()
    }

    /// The stages of a path; `None` where it is too long to be told.
    #[must_use]
    pub fn decode(self, words: [i64; WORDS]) -> Option<Vec<i64>> {
        if words == LONGER {
            return None;
        }
        let mask = (1_i64 << self.bits).wrapping_sub(1) & i64::MAX;
        let mut stages = Vec::new();
        for word in words {
            for visit in 0..self.a_word() as u32 {
                match (word >> (visit * self.bits)) & mask {
                    0 => return Some(stages),
                    code => stages.push(code - 1),
                }
            }
        }
        Some(stages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stages: usize, path: &[u32]) {
        let code = PathCode::new(stages);
        let told = code.decode(code.encode(path.iter().copied()));
        let expected = path.iter().map(|s| i64::from(*s)).collect::<Vec<_>>();
        assert_eq!(told, (path.len() <= code.visits_max()).then_some(expected), "{path:?}");
    }

    #[test]
    fn every_path_that_fits_is_told_again() {
        for stages in [1_u32, 2, 3, 7, 8, 12, 15, 16, 255, 256, 70_000] {
            for visits in 0..130 {
                let path: Vec<u32> = (0..visits).map(|v| (v * 7 + 3) % stages).collect();
                check(stages as usize, &path);
            }
            check(stages as usize, &[stages - 1; 4]);
        }
    }

    #[test]
    fn a_path_that_is_too_long_leaves_the_next_one_whole() {
        let code = PathCode::new(12);
        let stages = (0..70).map(|_| (0, 5)).chain([(1, 3), (1, 4)]);
        let words = code.encode_all([70, 2, 90].into_iter(), stages);
        let told: Vec<_> = words.into_iter().map(|words| code.decode(words)).collect();
        assert_eq!(told, [None, Some(vec![3, 4]), None]);
    }

    #[test]
    fn a_dozen_stages_make_sixty_visits() {
        assert_eq!(PathCode::new(12).visits_max(), 60);
        // 15 codes and nothing are 16 values of four bits; 16 codes need a fifth.
        assert_eq!(PathCode::new(15).visits_max(), 60);
        assert_eq!(PathCode::new(16).visits_max(), 48);
    }
}
