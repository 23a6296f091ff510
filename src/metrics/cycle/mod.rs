//! How long a deal takes from its start to its close, with the deals that have not closed yet.
//!
//! What the metrics of this area share is the reading of the state of cycles: a count per duration
//! and way of ending.

pub mod cycle_comparisons;
pub mod cycle_curve;
pub mod cycle_histogram;
pub mod cycle_length;
pub mod cycle_outcomes;
pub mod outcome_curve;
pub mod win_horizons;

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::durations::{Durations, tally};
use crate::metrics::{Absent, State, StateView};
use crate::relations::Relation;
use crate::relations::deals::CYCLE_STATUS;
use crate::stats::competing::{self, Incidence};
use crate::stats::survival::{Curve, Tally};

/// Deals by the period of creation, the length of their cycle and how it ended; the same text in
/// every metric, so that it is computed once.
const CYCLES: &str = "SELECT created_period AS period, \
                      CASE WHEN is_negative_cycle = 1 THEN -1 ELSE cycle END AS duration, \
                      cycle_status, COUNT(*) AS deals_n FROM deals \
                      GROUP BY period, duration, cycle_status";

/// As [`CYCLES`], for what is made of the whole history only.
const ALL_CYCLES: &str = "SELECT CASE WHEN is_negative_cycle = 1 THEN -1 ELSE cycle END AS duration, \
                          cycle_status, COUNT(*) AS deals_n FROM deals \
                          GROUP BY duration, cycle_status";

/// The deals of them that began before the history does, by the age at which they were first seen.
/// Without the begin of the history there are none.
const LATE_ENTRIES: State = State {
    relation: Relation::LateEntries,
    sql: "SELECT created_period AS period, entry_age, cycle AS duration, cycle_status, \
          COUNT(*) AS deals_n FROM late_entries \
          GROUP BY period, entry_age, duration, cycle_status",
    absent: Absent::NoRows,
};

/// As [`LATE_ENTRIES`], for what is made of the whole history only.
const ALL_LATE_ENTRIES: State = State {
    relation: Relation::LateEntries,
    sql: "SELECT entry_age, cycle AS duration, cycle_status, COUNT(*) AS deals_n \
          FROM late_entries GROUP BY entry_age, duration, cycle_status",
    absent: Absent::NoRows,
};

/// What stands for "no duration" in a key: real durations are not negative.
const NO_DURATION: i64 = -1;

/// How a cycle ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Won,
    Lost,
    Censored,
}

impl Ending {
    fn from_code(code: i64) -> Result<Self, Error> {
        let name = usize::try_from(code).ok().and_then(|c| CYCLE_STATUS.get(c).copied());
        match name {
            Some("won") => Ok(Self::Won),
            Some("lost") => Ok(Self::Lost),
            Some("open" | "deleted") => Ok(Self::Censored),
            _ => Err(Error::Bug(format!("there is no cycle status of code {code}"))),
        }
    }
}

/// The cycles of one group of deals.
#[derive(Debug, Default)]
struct Cycles {
    won: Durations,
    closed: Durations,
    /// The event is any close; open and deleted deals are censored.
    to_close: Vec<Tally>,
    /// The event is a win; lost deals are censored too.
    to_win: Vec<Tally>,
    won_n: i64,
    lost_n: i64,
    censored_n: i64,
    negative_n: i64,
    late: Late,
}

impl Cycles {
    fn deals(&self) -> i64 {
        self.won_n + self.lost_n + self.censored_n + self.negative_n + self.late.unseen_n
    }

    fn close_curve(&self) -> Curve {
        Curve::fit_late(&self.to_close, &self.late.entries)
    }

    fn win_curve(&self) -> Curve {
        Curve::fit_late(&self.to_win, &self.late.entries)
    }
}

/// The deals that began before the history does.
#[derive(Debug, Default)]
struct Late {
    /// Ages at which so many were first seen, ascending.
    entries: Vec<(i64, i64)>,
    /// By duration and code of the ending, those that ended before they could be seen.
    unseen: BTreeMap<(i64, i64), i64>,
    unseen_n: i64,
}

impl Late {
    fn read(state: &StateView<'_>) -> Result<Self, Error> {
        let mut late = Self::default();
        let keys = state.key("entry_age")?.iter().zip(state.key("duration")?);
        let keys = keys.zip(state.key("cycle_status")?);
        for (((entry, duration), status), n) in keys.zip(state.value("deals_n")?) {
            if duration <= entry {
                // A cycle that ends as it is first seen is never at risk.
                *late.unseen.entry((*duration, *status)).or_default() += n;
                late.unseen_n += n;
                continue;
            }
            match late.entries.last_mut() {
                Some((last, count)) if last == entry => *count += n,
                _ => late.entries.push((*entry, *n)),
            }
        }
        Ok(late)
    }

    /// How many were first seen after their start.
    fn seen(&self) -> i64 {
        self.entries.iter().map(|(_, n)| n).sum()
    }
}

/// Every (duration, ending, count) of some rows of a state, in ascending order of duration.
fn endings(
    state: &StateView<'_>,
) -> Result<impl Iterator<Item = Result<(i64, Ending, i64), Error>>, Error> {
    let (durations, statuses) = (state.key("duration")?, state.key("cycle_status")?);
    let counts = state.value("deals_n")?;
    let rows = durations.iter().zip(statuses).zip(counts);
    Ok(rows.map(|((duration, status), n)| Ok((*duration, Ending::from_code(*status)?, *n))))
}

/// The same without the deals that ended before they could be seen.
fn seen_endings<'a>(
    state: &StateView<'a>,
    late: &'a Late,
) -> Result<impl Iterator<Item = Result<(i64, Ending, i64), Error>> + use<'a>, Error> {
    let (durations, statuses) = (state.key("duration")?, state.key("cycle_status")?);
    let rows = durations.iter().zip(statuses).zip(state.value("deals_n")?);
    Ok(rows.map(|((duration, status), n)| {
        let unseen = late.unseen.get(&(*duration, *status)).copied().unwrap_or(0);
        Ok((*duration, Ending::from_code(*status)?, n - unseen))
    }))
}

fn read_cycles(state: &StateView<'_>, late: &StateView<'_>) -> Result<Cycles, Error> {
    let late = Late::read(late)?;
    let mut cycles = Cycles::default();
    for row in seen_endings(state, &late)? {
        let (duration, ending, n) = row?;
        if duration == NO_DURATION {
            cycles.negative_n += n;
            continue;
        }
        let (closed, won) = match ending {
            Ending::Won => (n, n),
            Ending::Lost => (n, 0),
            Ending::Censored => (0, 0),
        };
        tally(&mut cycles.to_close, duration, closed, n - closed);
        tally(&mut cycles.to_win, duration, won, n - won);
        cycles.closed.add(duration, closed);
        match ending {
            Ending::Won => {
                cycles.won.add(duration, n);
                cycles.won_n += n;
            }
            Ending::Lost => cycles.lost_n += n,
            Ending::Censored => cycles.censored_n += n,
        }
    }
    cycles.late = late;
    Ok(cycles)
}

/// The cycles of one group of deals as a race between a win and a loss.
#[derive(Debug, Default)]
struct Race {
    tallies: Vec<competing::Tally>,
    won_n: i64,
    lost_n: i64,
    censored_n: i64,
    negative_n: i64,
    late: Late,
}

impl Race {
    fn read(state: &StateView<'_>, late: &StateView<'_>) -> Result<Self, Error> {
        let late = Late::read(late)?;
        let mut race = Self::default();
        for row in seen_endings(state, &late)? {
            let (duration, ending, n) = row?;
            if duration == NO_DURATION {
                race.negative_n += n;
                continue;
            }
            if race.tallies.last().is_none_or(|last| last.duration != duration) {
                race.tallies.push(competing::Tally { duration, ended: [0, 0], censored: 0 });
            }
            let Some(tally) = race.tallies.last_mut() else { continue };
            let [won, lost] = &mut tally.ended;
            let (here, all) = match ending {
                Ending::Won => (won, &mut race.won_n),
                Ending::Lost => (lost, &mut race.lost_n),
                Ending::Censored => (&mut tally.censored, &mut race.censored_n),
            };
            *here += n;
            *all += n;
        }
        race.late = late;
        Ok(race)
    }

    fn incidence(&self) -> Incidence {
        Incidence::fit_late(&self.tallies, &self.late.entries)
    }

    /// Deals followed.
    fn subjects(&self) -> i64 {
        self.won_n + self.lost_n + self.censored_n
    }
}
