//! How the lengths of cycles are spread, in bins of whole days.
//!
//! Open deals are shown in the bin of their age so far, beside and never among the closed ones.

use std::collections::BTreeMap;

use super::{Ending, NO_DURATION, endings};
use crate::error::Error;
use crate::metrics::{Absent, Dims, Group, Identity, Metric, Rows, State, View, period_start};
use crate::relations::Relation;
use crate::stats::ratio;
use crate::table::{ColumnSpec, Value};

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
    states: &[State {
        relation: Relation::Deals,
        sql: "SELECT created_period AS period, \
              CASE WHEN is_negative_cycle = 1 THEN -1 ELSE cycle END AS duration, cycle_status, \
              COUNT(*) AS deals_n FROM deals GROUP BY period, duration, cycle_status",
        absent: Absent::SkipTable,
    }],
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

/// Deals in one bin.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    won_n: i64,
    lost_n: i64,
    censored_n: i64,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the cycle histogram has one state".into()));
    };
    let periods = state.key("period")?;
    let per_day = group.settings.resolution.units_per_day();
    for run in state.runs(1) {
        let period = periods.get(run.start).copied().unwrap_or_default();
        let dims = state.dims(run.start);
        let mut bins: BTreeMap<i64, Counts> = BTreeMap::new();
        let mut negative_n = 0;
        for row in endings(state, run)? {
            let (duration, ending, n) = row?;
            if duration == NO_DURATION {
                negative_n += n;
                continue;
            }
            let counts = bins.entry(bin(duration.div_euclid(per_day)).0).or_default();
            match ending {
                Ending::Won => counts.won_n += n,
                Ending::Lost => counts.lost_n += n,
                Ending::Censored => counts.censored_n += n,
            }
        }
        push_bins(rows, (&dims, period), &bins, negative_n)?;
    }
    Ok(())
}

fn push_bins(
    rows: &mut Rows<'_>,
    (dims, period): (&Dims, i64),
    bins: &BTreeMap<i64, Counts>,
    negative_n: i64,
) -> Result<(), Error> {
    let won_total: i64 = bins.values().map(|c| c.won_n).sum();
    let closed_total: i64 = bins.values().map(|c| c.won_n + c.lost_n).sum();
    // A group of negative cycles alone still says so, in an empty first bin.
    let last = bins.keys().next_back().copied().unwrap_or(0);
    let mut start = 0;
    while start <= last {
        let (first, end) = bin(start);
        let counts = bins.get(&first).copied().unwrap_or_default();
        let closed_n = counts.won_n + counts.lost_n;
        rows.push(
            dims,
            period_start(period),
            &[
                ("bin_start_days", Value::Int(first)),
                ("bin_end_days", Value::Int(end)),
                ("won_n", Value::Int(counts.won_n)),
                ("lost_n", Value::Int(counts.lost_n)),
                ("closed_n", Value::Int(closed_n)),
                ("censored_n", Value::Int(counts.censored_n)),
                ("closed_share", Value::float(ratio(closed_n, closed_total))),
                ("won_share", Value::float(ratio(counts.won_n, won_total))),
                ("negative_n", Value::Int(negative_n)),
            ],
        )?;
        start = end;
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
