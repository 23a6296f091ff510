//! The history as it was known at the end of a past month: what had ended, what stood, what had been
//! booked.
//!
//! Invariant: nothing that came later takes part in what is known at an instant, but as the outcome that
//! a forecast is judged by.

use std::collections::BTreeMap;

use super::curves::{Banded, Tallies, WON};
use super::history::Created;
use crate::error::Error;
use crate::metrics::{Absent, NO_KEY, State, StateView};
use crate::relations::Relation;
use crate::relations::stage_entries::stay_band;
use crate::stats::float;
use crate::time::{Calendar, Day, Period};

/// Entries whose deal has ended, by the month of that and the days it took.
pub(super) const ENDED: State = State {
    relation: Relation::StageEntries,
    sql: "SELECT stage, forecast_segment, is_entry, \
          CASE WHEN stage_class = 'won' OR stage_class = 'lost' THEN 0 ELSE 1 END AS is_stage, \
          stay_band, ended_month, follow_days, ending, COUNT(*) AS ended_n FROM stage_entries \
          WHERE ending <> 'open' GROUP BY stage, forecast_segment, is_entry, is_stage, \
          stay_band, ended_month, follow_days, ending",
    absent: Absent::SkipTable,
};

/// All entries, by the day of entry and the months of exit and end.
pub(super) const STOOD: State = State {
    relation: Relation::StageEntries,
    sql: "SELECT stage, forecast_segment, is_entry, \
          CASE WHEN stage_class = 'won' OR stage_class = 'lost' THEN 0 ELSE 1 END AS is_stage, \
          stay_band, entered_on, left_month, ended_month, ending, COUNT(*) AS stood_n, \
          SUM(amount) AS stood_amount FROM stage_entries \
          GROUP BY stage, forecast_segment, is_entry, is_stage, stay_band, entered_on, \
          left_month, ended_month, ending",
    absent: Absent::SkipTable,
};

/// How large deals were when they were won, by month.
pub(super) const WON_SIZES: State = State {
    relation: Relation::StageEntries,
    sql: "SELECT ended_month, amount_class, COUNT(*) AS won_n, SUM(ended_amount) AS won_amount \
          FROM stage_entries WHERE is_entry = 1 AND ending = 'won' \
          GROUP BY ended_month, amount_class",
    absent: Absent::SkipTable,
};

/// Entries that ended in one month after as many days in the same way.
#[derive(Debug, Clone, Copy)]
struct Ended {
    group: (i64, i64),
    is_entry: bool,
    is_stage: bool,
    band: usize,
    month: i64,
    days: i64,
    ending: i64,
    n: i64,
}

/// Entries of one day that left their stage, and ended, in the same months.
#[derive(Debug, Clone, Copy)]
struct Stood {
    group: (i64, i64),
    is_entry: bool,
    is_stage: bool,
    /// Of the whole stay.
    band: usize,
    entered: i64,
    /// [`i64::MAX`] if it has not.
    left: i64,
    ended: i64,
    ending: i64,
    n: i64,
    amount: i64,
}

/// The whole history.
#[derive(Debug)]
pub(super) struct Replay {
    ended: Vec<Ended>,
    stood: Vec<Stood>,
    /// Month, deals and amount of a size.
    sizes: Vec<(i64, i64, i64)>,
}

/// Stage and segment, age, and the month of the win.
type Kind = ((i64, i64), i64, i64);

/// Deals that stood in one stage for the same days at an instant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Stage and segment.
    pub(super) group: (i64, i64),
    pub(super) age: i64,
    pub(super) n: i64,
    pub(super) amount: i64,
    /// The month in which they were won later; [`i64::MAX`] if they were not.
    pub(super) won: i64,
}

/// Number, mean and mean square of the amounts of won deals.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sizes {
    pub(super) mean: f64,
    pub(super) square: f64,
}

impl Replay {
    pub(super) fn read(
        ended: &StateView<'_>,
        stood: &StateView<'_>,
        sizes: &StateView<'_>,
    ) -> Result<Self, Error> {
        let month = |key: i64| if key == NO_KEY { i64::MAX } else { key };
        let at = |column: &[i64], row: usize| column.get(row).copied().unwrap_or_default();
        let of_ended = {
            let keys = ["stage", "forecast_segment", "is_entry", "is_stage"];
            let [stage, segment, entry, in_stage] = columns(ended, keys)?;
            let [band, months, days, ending] =
                columns(ended, ["stay_band", "ended_month", "follow_days", "ending"])?;
            let n = ended.value("ended_n")?;
            (0..ended.rows()).map(move |row| Ended {
                group: (at(stage, row), at(segment, row)),
                is_entry: at(entry, row) != 0,
                is_stage: at(in_stage, row) != 0,
                band: usize::try_from(at(band, row)).unwrap_or_default(),
                month: month(at(months, row)),
                days: at(days, row),
                ending: at(ending, row),
                n: at(n, row),
            })
        };
        let of_stood = {
            let keys = ["stage", "forecast_segment", "is_entry", "is_stage"];
            let [stage, segment, entry, in_stage] = columns(stood, keys)?;
            let [band, entered, left, months, ending] =
                columns(stood, ["stay_band", "entered_on", "left_month", "ended_month", "ending"])?;
            let (n, amount) = (stood.value("stood_n")?, stood.value("stood_amount")?);
            (0..stood.rows()).map(move |row| Stood {
                group: (at(stage, row), at(segment, row)),
                is_entry: at(entry, row) != 0,
                is_stage: at(in_stage, row) != 0,
                band: usize::try_from(at(band, row)).unwrap_or_default(),
                entered: at(entered, row),
                left: month(at(left, row)),
                ended: month(at(months, row)),
                ending: at(ending, row),
                n: at(n, row),
                amount: at(amount, row),
            })
        };
        let (n, amount) = (sizes.value("won_n")?, sizes.value("won_amount")?);
        let of_sizes = sizes.key("ended_month")?.iter().zip(n).zip(amount);
        Ok(Self {
            ended: of_ended.collect(),
            stood: of_stood.collect(),
            sizes: of_sizes.map(|((m, n), amount)| (month(*m), *n, *amount)).collect(),
        })
    }

    /// How entries known on the day before `next`, the first day of a month, had ended by then.
    pub(super) fn tallies(&self, next: Day) -> BTreeMap<(i64, i64), Banded> {
        let next = i64::from(next);
        let mut tallies: BTreeMap<(i64, i64), Banded> = BTreeMap::new();
        for own in self.ended.iter().filter(|own| own.is_stage && own.month < next) {
            tallies.entry(own.group).or_default().add(own.band, own.days, own.ending, own.n);
        }
        for own in self.stood.iter().filter(|own| own.is_stage && own.is_known_open(next)) {
            let age = next - 1 - own.entered;
            // Of a stay that has not ended only so much is known.
            let band = if own.left >= next { stay_band(age) } else { own.band };
            tallies.entry(own.group).or_default().add(band, age, OPEN, own.n);
        }
        tallies
    }

    /// How many deals had come, and how they had ended by then.
    pub(super) fn created(&self, calendar: &Calendar, next: Day) -> Created {
        let year_before = i64::from(calendar.shift(Period::Month, next, -12));
        let next = i64::from(next);
        let (mut tallies, mut first, mut recent_n) = (Tallies::default(), i64::MAX, 0);
        for own in self.ended.iter().filter(|own| own.is_entry && own.month < next) {
            tallies.add(own.days, own.ending, own.n);
        }
        for own in self.stood.iter().filter(|own| own.is_entry && own.entered < next) {
            if own.is_known_open(next) {
                tallies.add(next - 1 - own.entered, OPEN, own.n);
            }
            first = first.min(own.entered);
            recent_n += if own.entered >= year_before { own.n } else { 0 };
        }
        let first = Day::try_from(first).ok().map(|day| calendar.start(Period::Month, day));
        let days = first.map_or(0, |first| next - i64::from(first).max(year_before));
        Created::new((days > 0).then(|| float(recent_n) / float(days)), &tallies)
    }

    /// The deals that were in a stage then.
    pub(super) fn standing(&self, next: Day) -> Vec<Standing> {
        let next = i64::from(next);
        let mut all: BTreeMap<Kind, (i64, i64)> = BTreeMap::new();
        let stood = self.stood.iter().filter(|own| own.is_stage);
        for own in stood.filter(|own| own.entered < next && own.left >= next) {
            let won = if own.ending == WON { own.ended } else { i64::MAX };
            let key = (own.group, next - 1 - own.entered, won);
            let (n, amount) = all.entry(key).or_default();
            *n += own.n;
            *amount += own.amount;
        }
        let standing = |((group, age, won), (n, amount))| Standing { group, age, n, amount, won };
        all.into_iter().map(standing).collect()
    }

    /// The share of those who stood then that were won before `until`.
    pub(super) fn share_won(&self, next: Day, until: Day) -> Option<f64> {
        let standing = self.standing(next);
        let all: i64 = standing.iter().map(|own| own.n).sum();
        let won = standing.iter().filter(|own| own.won < i64::from(until)).map(|own| own.n).sum();
        crate::stats::ratio(won, all)
    }

    /// The sizes of the deals won by then.
    pub(super) fn sizes(&self, next: Day) -> Sizes {
        let (mut n, mut sum, mut square) = (0, 0.0, 0.0);
        for (_, own, amount) in self.sizes.iter().filter(|(m, own, _)| *m < next.into() && *own > 0)
        {
            n += own;
            sum += *amount as f64;
            square += *amount as f64 * *amount as f64 / float(*own);
        }
        let of_all = |sum: f64| if n > 0 { sum / float(n) } else { 0.0 };
        Sizes { mean: of_all(sum), square: of_all(square) }
    }
}

/// An ending that is none yet.
const OPEN: i64 = 0;

impl Stood {
    /// Whether it had come and its deal had not ended.
    fn is_known_open(&self, next: i64) -> bool {
        self.entered < next && self.ended >= next
    }
}

fn columns<'a, const N: usize>(
    state: &StateView<'a>,
    names: [&str; N],
) -> Result<[&'a [i64]; N], Error> {
    let mut all = [&[][..]; N];
    for (column, name) in all.iter_mut().zip(names) {
        *column = state.key(name)?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::curves::Curves;
    use super::*;
    use crate::metrics::testing::{settings, state};
    use crate::stats::testdata::close;

    const ENDED_KEYS: [&str; 8] = [
        "stage",
        "forecast_segment",
        "is_entry",
        "is_stage",
        "stay_band",
        "ended_month",
        "follow_days",
        "ending",
    ];
    const STOOD_KEYS: [&str; 9] = [
        "stage",
        "forecast_segment",
        "is_entry",
        "is_stage",
        "stay_band",
        "entered_on",
        "left_month",
        "ended_month",
        "ending",
    ];
    /// First days of January to April 1970.
    const MONTHS: [i64; 4] = [0, 31, 59, 90];

    /// Entries to stage 4: on day 0 two, of which one is won on day 10 and one lost on day 40; on day 20
    /// one that goes on to stage 5 on day 50 and is won on day 70.
    fn replay() -> Replay {
        let [january, february, march, _] = MONTHS;
        // Stays of 10, 40 and 30 days, and of 20 in stage 5.
        let [ten, forty, thirty, twenty] = [10, 40, 30, 20].map(|days| stay_band(days) as i64);
        let ended: [&[i64]; 4] = [
            &[4, NO_KEY, 1, 1, ten, january, 10, 1, 1],
            &[4, NO_KEY, 1, 1, forty, february, 40, 2, 1],
            &[4, NO_KEY, 1, 1, thirty, march, 50, 1, 1],
            &[5, NO_KEY, 0, 1, twenty, march, 20, 1, 1],
        ];
        let stood: [&[i64]; 4] = [
            &[4, NO_KEY, 1, 1, ten, 0, january, january, 1, 1, 100],
            &[4, NO_KEY, 1, 1, forty, 0, february, february, 2, 1, 100],
            &[4, NO_KEY, 1, 1, thirty, 20, february, march, 1, 1, 300],
            &[5, NO_KEY, 0, 1, twenty, 50, march, march, 1, 1, 300],
        ];
        let sizes: [&[i64]; 2] = [&[january, 5, 1, 100], &[march, 6, 1, 300]];
        Replay::read(
            &state(&ENDED_KEYS, &["ended_n"], &ended).view(),
            &state(&STOOD_KEYS, &["stood_n", "stood_amount"], &stood).view(),
            &state(&["ended_month", "amount_class"], &["won_n", "won_amount"], &sizes).view(),
        )
        .unwrap()
    }

    /// How many were followed longer, and the shares won and lost, known before `next`.
    fn known(next: Day, stage: i64, age: i64) -> Option<(i64, [f64; 2])> {
        let settings = settings(&["L", "Q"], i64::from(next) - 1);
        let curves = Curves::of(&replay().tallies(next), &settings);
        let judged = curves.judge((stage, NO_KEY), age, &settings)?;
        Some((judged.outlook.followed_n, judged.outlook.eventually()))
    }

    #[test]
    fn nothing_that_came_later_is_known() {
        // At the end of January: of three one won on day 10, one open for 30 days, one for 10.
        let (followed_n, [won, lost]) = known(31, 4, 0).unwrap();
        assert_eq!(followed_n, 3);
        close(won, 1.0 / 3.0, 1e-12);
        close(lost, 0.0, 1e-12);
        // After 12 days one is left, and nothing happened to it yet.
        assert_eq!(known(31, 4, 12).map(|(n, shares)| (n, shares[0] > 0.0)), Some((1, false)));
        // At the end of February the loss is known: of two that were there for 14 days one was lost
        // on day 40, and the other, open for 38 days, has gone on.
        let (followed_n, [won, lost]) = known(59, 4, 14).unwrap();
        assert_eq!(followed_n, 2);
        close(won, 0.0, 1e-12);
        close(lost, 1.0, 1e-12);
        let replay = replay();
        close(replay.sizes(59).mean, 100.0, 1e-12);
        close(replay.sizes(90).mean, 200.0, 1e-12);
        close(replay.sizes(90).square, 50_000.0, 1e-12);
    }

    #[test]
    fn each_deal_stands_in_one_stage() {
        let replay = replay();
        let at = |next: i64| {
            let standing = replay.standing(next as Day);
            standing.iter().map(|s| (s.group.0, s.age, s.n, s.won)).collect::<Vec<_>>()
        };
        let [_, february, march, april] = MONTHS;
        assert_eq!(at(february), [(4, 10, 1, march), (4, 30, 1, i64::MAX)]);
        assert_eq!(at(march), [(5, 8, 1, march)]);
        assert_eq!(at(april), []);
        close(replay.share_won(31, 59).unwrap(), 0.0, 1e-12);
        close(replay.share_won(31, 90).unwrap(), 0.5, 1e-12);
        assert_eq!(replay.share_won(90, 120), None);
    }
}
