//! Where deals go: through the funnel, from stage to stage, and where they wait.
//!
//! What the metrics of this area share is the place of a stage in a table.

#[expect(clippy::module_inception, reason = "one file per metric, named by the metric")]
pub mod funnel;
pub mod stage_time;
pub mod stage_transitions;

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::Settings;
use crate::relations::visits::{MOVES, PSEUDO_STAGES};

/// What stands for "no duration" in a key: real durations are not negative.
const NO_DURATION: i64 = -1;

/// A stage in a table.
#[derive(Debug)]
pub(super) struct Place<'a> {
    /// Of a pseudo-stage, which is in none, the first.
    pipeline: &'a str,
    pub(super) name: &'a str,
    /// 0 for START, then the stages in the order of the pipeline, then the other pseudo-stages.
    pub(super) order: i64,
    is_pseudo: bool,
}

/// The place of every stage, by code.
pub(super) struct Places<'a>(Vec<Place<'a>>);

impl<'a> Places<'a> {
    pub(super) fn of(settings: &'a Settings) -> Self {
        let names = settings.dictionaries.names.get("stage");
        let names = names.map(|names| names.as_slice()).unwrap_or_default();
        let pseudo = |name: &str| PSEUDO_STAGES.iter().position(|p| *p == name);
        let pipelines = &settings.pipelines;
        let of_code = |code: usize| pipelines.stages.get(code);
        let is_there = |(code, name): &(usize, &String)| {
            pseudo(name).is_none() && of_code(*code).is_none_or(|(of, _)| !of.is_empty())
        };
        let stages = names.iter().enumerate().filter(is_there).count();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let first = pipelines.open.keys().next().map_or("", String::as_str);
        let place = |(code, name): (usize, &'a String)| {
            let own = of_code(code).map(|(of, name)| (of.as_str(), name.as_str()));
            let (pipeline, own) = own.unwrap_or((first, name));
            let (order, is_pseudo) = match pseudo(name) {
                Some(0) => (0, true),
                Some(position) => (stages + position, true),
                None => {
                    let seen = seen.entry(pipeline).or_insert(0);
                    *seen += 1;
                    (*seen, false)
                }
            };
            let order = i64::try_from(order).unwrap_or(i64::MAX);
            Place { pipeline, name: if is_pseudo { name } else { own }, order, is_pseudo }
        };
        Self(names.iter().enumerate().map(place).collect())
    }

    /// The pipeline of a move between two stages, of which one may be a pseudo-stage.
    fn pipeline_of(&self, from: i64, to: i64) -> Result<&'a str, Error> {
        let from = self.at(from)?;
        Ok(if from.is_pseudo { self.at(to)?.pipeline } else { from.pipeline })
    }

    pub(super) fn at(&self, code: i64) -> Result<&Place<'a>, Error> {
        let place = usize::try_from(code).ok().and_then(|code| self.0.get(code));
        place.ok_or_else(|| Error::Bug(format!("there is no stage of code {code}")))
    }
}

/// Name of a kind of move.
fn move_name(code: i64) -> Result<&'static str, Error> {
    usize::try_from(code)
        .ok()
        .and_then(|position| MOVES.get(position).copied())
        .ok_or_else(|| Error::Bug(format!("there is no move of code {code}")))
}
