//! Where open deals end if only their stage counts: the Markov chain of the stages.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{Absent, State, StateView};
use crate::relations::Relation;
use crate::relations::visits::MOVES;
use crate::stats::forecast::markov::{Stays, Target, absorbed, exits};

/// How stays in each stage ended, or that they have not.
pub(super) const STAYS: State = State {
    relation: Relation::StageEntries,
    sql: "SELECT stage, next_stage, move, stay_days, COUNT(*) AS stay_n \
          FROM stage_entries WHERE stage_class <> 'won' AND stage_class <> 'lost' \
          GROUP BY stage, next_stage, move, stay_days",
    absent: Absent::SkipTable,
};

/// Ends of the chain: won, lost, gone (deleted, or to another pipeline); then unresolved.
pub(super) const ENDS: usize = 3;

/// More stages than this are no pipeline, and the chain would take long.
const STAGES_MAX: usize = 400;

/// The shares of each stage that come to each end.
#[derive(Debug, Default)]
pub(super) struct Chain(BTreeMap<i64, Vec<f64>>);

impl Chain {
    /// From the state of [`STAYS`].
    pub(super) fn read(state: &StateView<'_>) -> Result<Self, Error> {
        let (stages, next) = (state.key("stage")?, state.key("next_stage")?);
        let (moves, days) = (state.key("move")?, state.key("stay_days")?);
        let mut codes = stages.to_vec();
        codes.dedup();
        if codes.len() > STAGES_MAX {
            return Ok(Self::default());
        }
        let ends = ["won", "lost", "deleted", "handoff"];
        let ends = ends.map(|name| MOVES.iter().position(|m| *m == name));
        let still = MOVES.iter().position(|m| *m == "still");
        let mut stays: Vec<BTreeMap<i64, Stays>> = vec![BTreeMap::new(); codes.len()];
        let rows = stages.iter().zip(next).zip(moves.iter().zip(days));
        for (((stage, next), (kind, days)), n) in rows.zip(state.value("stay_n")?) {
            let kind = usize::try_from(*kind).ok();
            let own = codes.binary_search(stage).ok().and_then(|place| stays.get_mut(place));
            let Some(own) = own else { continue };
            let own =
                own.entry(*days).or_insert_with(|| Stays { duration: *days, ..Stays::default() });
            let end = ends.iter().position(|end| *end == kind).map(|end| end.min(ENDS - 1));
            match (end, codes.binary_search(next)) {
                (Some(end), _) => own.left.push((Target::End(end), *n)),
                _ if kind == still => own.still += n,
                (None, Ok(to)) => own.left.push((Target::State(to), *n)),
                // Nobody is seen to stay there: as far as it can be followed.
                (None, Err(_)) => own.still += n,
            }
        }
        let shares: Vec<_> =
            stays.into_iter().map(|own| exits(&own.into_values().collect::<Vec<_>>())).collect();
        Ok(Self(codes.into_iter().zip(absorbed(&shares, ENDS)).collect()))
    }

    /// The shares of a stage that come to each end, the last one to none.
    pub(super) fn of(&self, stage: i64) -> Option<&[f64]> {
        self.0.get(&stage).map(Vec::as_slice)
    }
}
