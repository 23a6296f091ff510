//! How far a deal came, by each funnel variant of definitions.md section 6. Every variant but
//! `touched` is one level per deal, so that a funnel is a sum over levels.
//!
//! Levels are of the pipeline that the deal is in at `as_of`; visits to others count for nothing.

use super::machine::{Deal, Outcome, Visit};
use crate::contract::{StageClass, StageTable};
use crate::time::Instant;

/// One level per variant: the number of the last stage that counts, number of stages + 1 for won.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field is the relation's column of the same name")]
pub struct Levels {
    pub reached: i16,
    pub fall_through: i16,
    pub ordered: i16,
    pub strict: i16,
    pub furthest_final: i16,
    pub first: i16,
    /// Bit `k - 1` is set if the deal visited the open stage `k`.
    pub touched: i64,
}

/// Computes levels; keeps its buffer between deals.
#[derive(Debug)]
pub struct Leveller<'a> {
    stages: &'a StageTable,
    /// Class, order and time of each visit of the deal.
    path: Vec<(StageClass, i16, Instant)>,
    /// Open stages of the deal's pipeline.
    open_n: i16,
}

impl<'a> Leveller<'a> {
    /// A leveller for the run's stages.
    #[must_use]
    pub fn new(stages: &'a StageTable) -> Self {
        Self { stages, path: Vec::new(), open_n: 0 }
    }

    /// The levels of a deal with these visits, in order.
    pub fn levels(&mut self, visits: &[Visit], deal: &Deal) -> Levels {
        let stages = self.stages;
        let is_own =
            |v: &&Visit| !stages.has_pipelines() || stages.pipeline_of(v.stage) == deal.pipeline;
        self.path.clear();
        self.path.extend(visits.iter().filter(is_own).map(|v| {
            let stage = stages.stage_at(v.stage, v.entered);
            (stage.class, stage.order, v.entered)
        }));
        self.open_n = stages.open_n(deal.pipeline);
        let won = self.open_n + 1;
        let ever_won = self.path.iter().any(|(class, _, _)| *class == StageClass::Won);
        let open = || self.path.iter().filter(|(class, _, _)| *class == StageClass::Open);
        let highest = open().map(|(_, order, _)| *order).max().unwrap_or(0);
        let last = open().next_back().map_or(0, |(_, order, _)| *order);
        Levels {
            reached: if ever_won { won } else { highest },
            fall_through: self.fall_through(ever_won),
            ordered: self.ordered(),
            strict: self.strict(),
            furthest_final: if ever_won && deal.outcome == Outcome::Won { won } else { last },
            touched: open().fold(0, |bits, (_, order, _)| bits | bit(*order)),
            first: open().next().map_or(if ever_won { won } else { 0 }, |(_, order, _)| *order),
        }
    }

    /// Visits to s1..sk in any order.
    fn fall_through(&self, ever_won: bool) -> i16 {
        let mut level = 0;
        while level < self.open_n && self.path.iter().any(|(_, order, _)| *order == level + 1) {
            level += 1;
        }
        if level == self.open_n && ever_won { level + 1 } else { level }
    }

    /// Visits to s1..sk with non-decreasing times: the earliest possible one each time.
    fn ordered(&self) -> i16 {
        let mut level = 0;
        let mut since = Instant::MIN;
        loop {
            let next = self
                .path
                .iter()
                .filter(|(class, order, at)| {
                    let wanted = if level < self.open_n {
                        *order == level + 1
                    } else {
                        *class == StageClass::Won
                    };
                    wanted && *at >= since
                })
                .map(|(_, _, at)| *at)
                .min();
            match next {
                Some(at) if level <= self.open_n => {
                    since = at;
                    level += 1;
                }
                _ => return level,
            }
        }
    }

    /// The longest run s1, s2, … of visits that follow one another.
    fn strict(&self) -> i16 {
        let (mut best, mut level) = (0, 0);
        for (class, order, _) in &self.path {
            level = match class {
                StageClass::Open if *order == level + 1 => level + 1,
                StageClass::Won if level == self.open_n => level + 1,
                _ if *order == 1 => 1,
                _ => 0,
            };
            best = best.max(level);
            if level > self.open_n {
                level = 0;
            }
        }
        best
    }
}

/// The bit of an open stage.
fn bit(order: i16) -> i64 {
    1_i64.checked_shl((i32::from(order) - 1).unsigned_abs()).unwrap_or(0)
}
