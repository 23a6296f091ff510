//! Where deals go: through the funnel, from stage to stage, and where they wait.
//!
//! What the metrics of this area share is the place of a stage in a table.

#[expect(clippy::module_inception, reason = "one file per metric, named by the metric")]
pub mod funnel;
pub mod stage_time;
pub mod stage_transitions;

use crate::error::Error;
use crate::metrics::Settings;
use crate::relations::visits::{MOVES, PSEUDO_STAGES};

/// What stands for "no duration" in a key: real durations are not negative.
const NO_DURATION: i64 = -1;

/// A stage in a table.
#[derive(Debug)]
struct Place<'a> {
    name: &'a str,
    /// 0 for START, then the stages in the order of the pipeline, then the other pseudo-stages.
    order: i64,
    is_pseudo: bool,
}

/// The place of every stage, by code.
struct Places<'a>(Vec<Place<'a>>);

impl<'a> Places<'a> {
    fn of(settings: &'a Settings) -> Self {
        let names = settings.dictionaries.names.get("stage");
        let names = names.map(|names| names.as_slice()).unwrap_or_default();
        let pseudo = |name: &str| PSEUDO_STAGES.iter().position(|p| *p == name);
        let stages = names.iter().filter(|n| pseudo(n).is_none()).count();
        let mut seen = 0;
        let place = |name: &'a String| {
            let (order, is_pseudo) = match pseudo(name) {
                Some(0) => (0, true),
                Some(position) => (stages + position, true),
                None => {
                    seen += 1;
                    (seen, false)
                }
            };
            Place { name, order: i64::try_from(order).unwrap_or(i64::MAX), is_pseudo }
        };
        Self(names.iter().map(place).collect())
    }

    fn at(&self, code: i64) -> Result<&Place<'a>, Error> {
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
