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

use crate::error::Error;
use crate::metrics::StateView;
use crate::metrics::durations::{Durations, tally};
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
}

impl Cycles {
    fn deals(&self) -> i64 {
        self.won_n + self.lost_n + self.censored_n + self.negative_n
    }

    fn close_curve(&self) -> Curve {
        Curve::fit(&self.to_close)
    }

    fn win_curve(&self) -> Curve {
        Curve::fit(&self.to_win)
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

fn read_cycles(state: &StateView<'_>) -> Result<Cycles, Error> {
    let mut cycles = Cycles::default();
    for row in endings(state)? {
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
}

impl Race {
    fn read(state: &StateView<'_>) -> Result<Self, Error> {
        let mut race = Self::default();
        for row in endings(state)? {
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
        Ok(race)
    }

    fn incidence(&self) -> Incidence {
        Incidence::fit(&self.tallies)
    }

    /// Deals followed.
    fn subjects(&self) -> i64 {
        self.won_n + self.lost_n + self.censored_n
    }
}
