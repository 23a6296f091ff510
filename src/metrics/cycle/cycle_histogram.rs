//! How the lengths of cycles are spread, in bins of whole days.
//!
//! Open deals are shown in the bin of their age so far, beside and never among the closed ones.

use super::{CYCLES, Ending, NO_DURATION, endings};
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View};
use crate::relations::Relation;
use crate::stats::ratio;
use crate::table::{ColumnSpec, Value};
use crate::time::Day;

/// Bins as (first day, width in days), each rule in force up to the next: days for two weeks, weeks
/// to day 98, months of 30 days to day 728, then years of 365. Every rule's span is a whole number
/// of its bins, so no bin is cut.
pub const BINS: [(i64, i64); 4] = [(0, 1), (14, 7), (98, 30), (728, 365)];

/// Definition: deals by the whole days of their cycle, by the period of creation.
///
/// Edge cases: every bin from 0 to the last that holds a deal is there, with zeros where it holds
/// none; cycles that end before they begin are in no bin and counted in `negative_n`.
pub static METRIC: Metric = Metric {
    name: "cycle_histogram",
    question: "How are the lengths of sales cycles spread?",
    grain: "one row per slice, period of creation and bin of days",
    states: &[State { relation: Relation::Deals, sql: CYCLES, absent: Absent::SkipTable }],
    output: OUTPUT,
    view: View::Bars("closed_n"),
    references: &[],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("bin_start_days", "days", "First whole day of the bin.").key(),
    ColumnSpec::count("bin_end_days", "days", "First whole day after the bin."),
    ColumnSpec::count("won_n", "deals", "Deals won after a cycle of this length."),
    ColumnSpec::count("lost_n", "deals", "Deals lost after a cycle of this length."),
    ColumnSpec::count("closed_n", "deals", "Deals closed after a cycle of this length."),
    ColumnSpec::count(
        "censored_n",
        "deals",
        "Deals of this age that have not closed by as_of, or were deleted at it.",
    ),
    ColumnSpec::rate("closed_share", "closed_n as a share of all closed deals of the row's group."),
    ColumnSpec::rate("won_share", "won_n as a share of all won deals of the row's group."),
    ColumnSpec::count(
        "negative_n",
        "deals",
        "Deals of the row's group whose cycle ends before it begins; in no bin.",
    ),
];

const IDENTITIES: &[Identity] = &[Identity {
    claim: "closed_n = won_n + lost_n",
    holds: |row| {
        row.int("closed_n") == row.int("won_n").zip(row.int("lost_n")).map(|(won, lost)| won + lost)
    },
}];

/// The bin that holds a whole number of days, as its first day and the first day after it.
fn bin(days: i64) -> (i64, i64) {
    let rule = BINS.iter().rev().find(|(start, _)| *start <= days);
    let (start, width) = rule.copied().unwrap_or((days, 1));
    let first = start + (days - start).div_euclid(width) * width;
    (first, first + width)
}

/// Deals in one bin of whole days, from the first to the one before the end.
#[derive(Debug)]
struct Bin {
    start: i64,
    end: i64,
    won_n: i64,
    lost_n: i64,
    censored_n: i64,
}

impl Bin {
    /// The bin that holds a day, without deals.
    fn at(days: i64) -> Self {
        let (start, end) = bin(days);
        Self { start, end, won_n: 0, lost_n: 0, censored_n: 0 }
    }
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the cycle histogram has one state".into()));
    };
    let per_day = group.settings.resolution.units_per_day();
    for (start, of_period) in state.by_period() {
        let (bins, negative_n) = read_bins(&of_period, per_day)?;
        push_bins(rows, start, &bins, negative_n)?;
    }
    Ok(())
}

/// Every bin up to the last that holds a deal, and the deals in none.
fn read_bins(state: &StateView<'_>, per_day: i64) -> Result<(Vec<Bin>, i64), Error> {
    // Deals of negative cycles alone still say so, in an empty first bin.
    let mut bins = vec![Bin::at(0)];
    let mut negative_n = 0;
    for row in endings(state)? {
        let (duration, ending, n) = row?;
        if duration == NO_DURATION {
            negative_n += n;
            continue;
        }
        let days = duration.div_euclid(per_day);
        while let Some(last) = bins.last().filter(|last| last.end <= days) {
            bins.push(Bin::at(last.end));
        }
        let Some(bin) = bins.last_mut() else { continue };
        match ending {
            Ending::Won => bin.won_n += n,
            Ending::Lost => bin.lost_n += n,
            Ending::Censored => bin.censored_n += n,
        }
    }
    Ok((bins, negative_n))
}

fn push_bins(rows: &mut Rows<'_>, start: Day, bins: &[Bin], negative_n: i64) -> Result<(), Error> {
    let won_total: i64 = bins.iter().map(|b| b.won_n).sum();
    let closed_total: i64 = bins.iter().map(|b| b.won_n + b.lost_n).sum();
    for bin in bins {
        let closed_n = bin.won_n + bin.lost_n;
        rows.push(
            start,
            &[
                ("bin_start_days", Value::Int(bin.start)),
                ("bin_end_days", Value::Int(bin.end)),
                ("won_n", Value::Int(bin.won_n)),
                ("lost_n", Value::Int(bin.lost_n)),
                ("closed_n", Value::Int(closed_n)),
                ("censored_n", Value::Int(bin.censored_n)),
                ("closed_share", Value::float(ratio(closed_n, closed_total))),
                ("won_share", Value::float(ratio(bin.won_n, won_total))),
                ("negative_n", Value::Int(negative_n)),
            ],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{
        FIXTURE_STAGES, check, eight_deals, finish as finish_by_hand, run, settings, state,
    };
    use crate::time::Period;

    #[test]
    fn fixture_cycles_fall_into_their_days() {
        let settings = settings(&FIXTURE_STAGES, 20);
        let table = run(&METRIC, &eight_deals(), &[Period::Month], &settings);
        let at = ["period=month"];
        check(&table, &at, "bin_start_days", "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14");
        check(&table, &at, "won_n", "1 0 0 1 1 0 0 0 0 1 0 0 0 0 0");
        check(&table, &at, "lost_n", "0 0 0 0 0 0 0 1 0 0 1 0 0 0 0");
        check(&table, &at, "censored_n", "0 0 0 0 0 0 0 0 0 0 0 0 0 0 2");
        check(&table, &["period=month", "bin_start_days=3"], "won_share", "0.25");
    }

    #[test]
    fn bins_meet_without_gap_or_overlap() {
        let (mut day, mut count) = (0, 0);
        while day < 1458 {
            let (first, end) = bin(day);
            assert_eq!(first, day);
            assert_eq!(bin(end - 1), (first, end));
            (day, count) = (end, count + 1);
        }
        // 14 days, 12 weeks, 21 months, 2 years.
        assert_eq!((day, count), (1458, 14 + 12 + 21 + 2));
    }

    #[test]
    fn part_of_a_day_belongs_to_the_day_begun() {
        let mut settings = settings(&["L"], 20);
        settings.resolution = crate::time::Resolution::Hour;
        let keys = ["period", "duration", "cycle_status"];
        let rows: [&[i64]; 3] = [&[0, -1, 1, 2], &[0, 23, 1, 1], &[0, 24, 2, 1]];
        let states = [state(&keys, &["deals_n"], &rows)];
        let table = finish_by_hand(&METRIC, &states, Period::Month, &settings).expect("a table");
        check(&table, &[], "closed_n", "1 1");
        check(&table, &[], "negative_n", "2 2");
    }
}
