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

/// Name of a stage, and its place: 0 for START, then the stages in the order of the pipeline, then
/// the other pseudo-stages.
fn stage_place(settings: &Settings, code: i64) -> Result<(&str, i64), Error> {
    let dictionary = settings.dictionaries.names.get("stage");
    let names = dictionary.map(|names| names.as_slice()).unwrap_or_default();
    let name = settings
        .dictionaries
        .name("stage", code)
        .ok_or_else(|| Error::Bug(format!("there is no stage of code {code}")))?;
    let pseudo = |name: &str| PSEUDO_STAGES.iter().position(|p| *p == name);
    let stages = names.iter().filter(|n| pseudo(n).is_none()).count();
    let place = match pseudo(name) {
        Some(0) => 0,
        Some(position) => stages + position,
        None => names.iter().filter(|n| pseudo(n).is_none()).take_while(|n| *n != name).count() + 1,
    };
    Ok((name, i64::try_from(place).unwrap_or(i64::MAX)))
}

/// Name of a kind of move.
fn move_name(code: i64) -> Result<&'static str, Error> {
    usize::try_from(code)
        .ok()
        .and_then(|position| MOVES.get(position).copied())
        .ok_or_else(|| Error::Bug(format!("there is no move of code {code}")))
}
