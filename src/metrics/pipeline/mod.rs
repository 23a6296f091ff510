//! What was open at any time, and how it came to be what it is.
//!
//! What the metrics of this area share is the walk over periods: the relations tell changes, and what
//! is open at the end of a period is all changes up to it.

pub mod pipeline_ages;
pub mod pipeline_causes;
pub mod pipeline_snapshot;
pub mod pipeline_waterfall;
pub mod sales_velocity;

use crate::metrics::{Group, StateView};
use crate::time::{Day, NO_DAY, Period};

/// The periods from the first one to that of as_of, without a gap; none for the whole history, whose
/// end is that of its last period.
fn periods(group: &Group<'_>, first: Option<Day>) -> Vec<Day> {
    let calendar = &group.settings.calendar;
    let Some(first) = first.filter(|first| *first != NO_DAY && group.period != Period::All) else {
        return Vec::new();
    };
    let last = calendar.start(group.period, calendar.day(group.settings.as_of));
    let steps = 0..=calendar.distance(group.period, first, last);
    steps.map(|step| calendar.shift(group.period, first, step)).collect()
}

/// The last day of a period, or that of as_of where it has not ended.
fn last_day(group: &Group<'_>, start: Day) -> Day {
    let calendar = &group.settings.calendar;
    let next = calendar.shift(group.period, start, 1);
    (next - 1).min(calendar.day(group.settings.as_of))
}

fn is_complete(group: &Group<'_>, start: Day) -> bool {
    group.settings.calendar.is_complete(group.period, start, group.settings.as_of)
}

/// The name of a code in a fixed list.
fn name_of(names: &[&'static str], code: i64) -> &'static str {
    usize::try_from(code).ok().and_then(|place| names.get(place)).copied().unwrap_or_default()
}

/// The rows of several states, period by period.
struct Changes<'a, const N: usize> {
    rest: [std::vec::IntoIter<(Day, StateView<'a>)>; N],
    next: [Option<(Day, StateView<'a>)>; N],
}

impl<'a, const N: usize> Changes<'a, N> {
    fn new(states: [&StateView<'a>; N]) -> Self {
        let mut rest = states.map(|state| state.by_period().into_iter());
        let next = rest.each_mut().map(Iterator::next);
        Self { rest, next }
    }

    /// The next rows of a state that are not after a period.
    fn take(&mut self, state: usize, until: Day) -> Option<StateView<'a>> {
        let (rest, next) = (self.rest.get_mut(state)?, self.next.get_mut(state)?);
        if next.as_ref().is_none_or(|(start, _)| *start > until) {
            return None;
        }
        std::mem::replace(next, rest.next()).map(|(_, rows)| rows)
    }
}
