//! Who fell silent, and who spoke up again: churn of customers who never say that they leave.
//!
//! A customer is active from a purchase day on for as many days as the silence may last, then silent
//! until the next one. Contracts, which do say when they end, are another table's; so is the chance of
//! being alive that a model gives. Invariant: active at the end = active at the start + new +
//! reactivated − churned, and active + silent customers are all customers.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View};
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::quantile::type1_from_counts;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period, Starts};

/// Definition: with `silent_after_days` = θ, a customer whose last purchase was on day d has churned
/// on day d + θ + 1 unless there was another one by then, and is reactivated by the next one. θ is
/// `[customers] silent_days`, or else the 95th percentile of all gaps between neighbouring purchase
/// days of a customer. The rate is over those at risk in the period: active at its start, new, or
/// reactivated.
///
/// Edge cases: without a configured θ and without a single gap nobody can be judged, and the table is
/// empty. Gaps that have not ended are not among those observed, so an observed θ is rather too short
/// where the history is; state one of your own to compare runs. In the period that has not ended the
/// counts are those so far and the rate is null.
pub static METRIC: Metric = Metric {
    name: "churn",
    question: "How many customers fall silent in each period, and how many come back?",
    grain: "one row per slice and period",
    states: &[State {
        relation: Relation::Purchases,
        sql: "SELECT purchased_on AS ever_on, gap_days, is_last, COUNT(*) AS purchases_n, \
              SUM(is_first) AS first_n FROM purchases GROUP BY ever_on, gap_days, is_last",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Line("churn_rate"),
    references: &[
        "Schmittlein, Morrison and Colombo, 1987, Counting Your Customers: Who Are They and What \
         Will They Do Next?",
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count("silent_after_days", "days", "θ: more days without a purchase are silence."),
    ColumnSpec::flag("is_observed_silence", "θ is of the gaps observed, not of the configuration."),
    ColumnSpec::count("gaps_n", "gaps", "Gaps between neighbouring purchase days, in all."),
    ColumnSpec::count("active_start_n", "customers", "Active when the period began."),
    ColumnSpec::count("new_n", "customers", "First purchase day in the period."),
    ColumnSpec::count("reactivated_n", "customers", "Purchases in the period after silence."),
    ColumnSpec::count("churned_n", "customers", "Silences that began in the period."),
    ColumnSpec::count("active_end_n", "customers", "Active when it ended, or at as_of."),
    ColumnSpec::count("silent_end_n", "customers", "Silent when it ended, or at as_of."),
    ColumnSpec::count("customers_n", "customers", "All with a purchase day until then."),
    ColumnSpec::count("at_risk_n", "customers", "active_start_n + new_n + reactivated_n."),
    ColumnSpec::rate(
        "churn_rate",
        "churned_n / at_risk_n; null while the period has not ended and for the whole history.",
    ),
    ColumnSpec::rate("churn_rate_low", "Lower Wilson 95 % limit of churn_rate."),
    ColumnSpec::rate("churn_rate_high", "Upper Wilson 95 % limit of churn_rate."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of."),
    ColumnSpec::flag("low_n", "at_risk_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "active_end_n = active_start_n + new_n + reactivated_n − churned_n",
        holds: |row| {
            let at_risk = row.int("at_risk_n").zip(row.int("churned_n"));
            row.int("active_end_n") == at_risk.map(|(all, churned)| all - churned)
        },
    },
    Identity {
        claim: "customers_n = active_end_n + silent_end_n, neither below 0",
        holds: |row| {
            let parts = row.int("active_end_n").zip(row.int("silent_end_n"));
            parts.is_some_and(|(active, silent)| active >= 0 && silent >= 0)
                && row.int("customers_n") == parts.map(|(active, silent)| active + silent)
        },
    },
    Identity {
        claim: "at_risk_n = active_start_n + new_n + reactivated_n",
        holds: |row| {
            let parts = ["active_start_n", "new_n", "reactivated_n"];
            row.int("at_risk_n") == parts.iter().map(|n| row.int(n)).sum::<Option<i64>>()
        },
    },
];

/// What happened in one period.
#[derive(Debug, Default, Clone, Copy)]
struct Change {
    new_n: i64,
    reactivated_n: i64,
    churned_n: i64,
}

/// From when on customers are silent, and what that rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Silence {
    after_days: i64,
    is_observed: bool,
    gaps_n: i64,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("churn has one state".into()));
    };
    let Some(silence) = silence(state, group.settings.customers.silent_days)? else {
        return Ok(());
    };
    let changes = changes(group, state, silence)?;
    let Some(first) = changes.keys().next() else { return Ok(()) };
    let (calendar, as_of) = (&group.settings.calendar, group.settings.as_of);
    let (mut active_n, mut customers_n) = (0, 0);
    let current = calendar.start(group.period, calendar.day(as_of));
    for step in 0..=calendar.distance(group.period, *first, current) {
        let start = calendar.shift(group.period, *first, step);
        let change = changes.get(&start).copied().unwrap_or_default();
        customers_n += change.new_n;
        push(group, rows, start, silence, (active_n, customers_n), change)?;
        active_n += change.new_n + change.reactivated_n - change.churned_n;
    }
    Ok(())
}

/// `None` where nobody said it and there is no gap to tell.
fn silence(state: &StateView<'_>, configured: Option<i64>) -> Result<Option<Silence>, Error> {
    let rows = state.key("gap_days")?.iter().zip(state.key("is_last")?);
    let mut gaps: BTreeMap<i64, i64> = BTreeMap::new();
    for ((days, is_last), n) in rows.zip(state.value("purchases_n")?) {
        if *is_last == 0 {
            *gaps.entry(*days).or_default() += n;
        }
    }
    let (days, counts): (Vec<i64>, Vec<i64>) = gaps.into_iter().unzip();
    let observed = type1_from_counts(&days, &counts, 0.95).map(|days| days as i64);
    let after_days = configured.or(observed);
    let gaps_n = counts.iter().sum();
    Ok(after_days.map(|after_days| Silence {
        after_days,
        is_observed: configured.is_none(),
        gaps_n,
    }))
}

/// What happened in each period, by its first day.
fn changes(
    group: &Group<'_>,
    state: &StateView<'_>,
    silence: Silence,
) -> Result<BTreeMap<Day, Change>, Error> {
    let starts = Starts::new(group.settings.calendar, group.period);
    let start = |day: i64| match group.period {
        Period::All => NO_DAY,
        _ => Day::try_from(day).map_or(NO_DAY, |day| starts.start(day)),
    };
    let keys = state.key("ever_on")?.iter().zip(state.key("gap_days")?).zip(state.key("is_last")?);
    let values = state.value("purchases_n")?.iter().zip(state.value("first_n")?);
    let mut changes: BTreeMap<Day, Change> = BTreeMap::new();
    for (((on, gap), is_last), (n, first_n)) in keys.zip(values) {
        if *first_n > 0 {
            changes.entry(start(*on)).or_default().new_n += first_n;
        }
        if *gap <= silence.after_days {
            continue;
        }
        changes.entry(start(on + silence.after_days + 1)).or_default().churned_n += n;
        if *is_last == 0 {
            changes.entry(start(on + gap)).or_default().reactivated_n += n;
        }
    }
    Ok(changes)
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    silence: Silence,
    (active_start_n, customers_n): (i64, i64),
    change: Change,
) -> Result<(), Error> {
    let settings = group.settings;
    let Change { new_n, reactivated_n, churned_n } = change;
    let at_risk_n = active_start_n + new_n + reactivated_n;
    let active_end_n = at_risk_n - churned_n;
    let is_complete =
        start != NO_DAY && settings.calendar.is_complete(group.period, start, settings.as_of);
    let base_n = if is_complete { at_risk_n } else { 0 };
    let limits = wilson(churned_n, base_n, Z_95);
    rows.push(
        start,
        &[
            ("silent_after_days", Value::Int(silence.after_days)),
            ("is_observed_silence", Value::Bool(silence.is_observed)),
            ("gaps_n", Value::Int(silence.gaps_n)),
            ("active_start_n", Value::Int(active_start_n)),
            ("new_n", Value::Int(new_n)),
            ("reactivated_n", Value::Int(reactivated_n)),
            ("churned_n", Value::Int(churned_n)),
            ("active_end_n", Value::Int(active_end_n)),
            ("silent_end_n", Value::Int(customers_n - active_end_n)),
            ("customers_n", Value::Int(customers_n)),
            ("at_risk_n", Value::Int(at_risk_n)),
            ("churn_rate", Value::float(ratio(churned_n, base_n))),
            ("churn_rate_low", Value::float(limits.map(|l| l.0))),
            ("churn_rate_high", Value::float(limits.map(|l| l.1))),
            ("is_complete_period", Value::Bool(is_complete)),
            ("low_n", Value::Bool(at_risk_n < settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{cdnow_sample, check, orders, run, settings};
    use crate::table::Table;
    use crate::time::from_date;

    /// Customer 1 buys on days 0, 20 and 80, customer 2 on day 40; as of day 125, in May.
    fn two(silent_days: Option<i64>) -> Table {
        let found = [(1, 0), (1, 20), (1, 80), (2, 40)];
        let relations = orders(&found.map(|(customer, day)| (customer, day, 100)), 125);
        let mut settings = settings(&["L"], 125);
        settings.customers.silent_days = silent_days;
        run(&METRIC, &relations, &[Period::Month], &settings)
    }

    #[test]
    fn silence_begins_the_day_after_it_may_last() {
        // 30 days: customer 1 is silent on day 51 (20 February), back on day 80 (22 March), silent
        // again on day 111 (22 April); customer 2 on day 71 (13 March).
        let table = two(Some(30));
        let months = &["period=month"][..];
        check(&table, months, "new_n", "1 1 0 0 0");
        check(&table, months, "churned_n", "0 1 1 1 0");
        check(&table, months, "reactivated_n", "0 0 1 0 0");
        check(&table, months, "active_start_n", "0 1 1 1 0");
        check(&table, months, "active_end_n", "1 1 1 0 0");
        check(&table, months, "silent_end_n", "0 1 1 2 2");
        // March: 1 active at its start and 1 reactivated; May has not ended.
        check(&table, months, "churn_rate", "0.0 0.5 0.5 1.0 -");
        check(&table, &["period=all"], "churned_n", "3");
        check(&table, &["period=all"], "active_end_n", "0");
        check(&table, &["period=all"], "is_observed_silence", "false");
    }

    #[test]
    fn a_gap_of_exactly_as_long_as_it_may_last_is_no_silence() {
        check(&two(Some(60)), &["period=all"], "reactivated_n", "0");
        check(&two(Some(59)), &["period=all"], "reactivated_n", "1");
    }

    #[test]
    fn without_a_rule_the_longest_usual_gap_is_one() {
        // Gaps of 20 and 60 days: the least with 95 % at or below it is 60.
        let table = two(None);
        check(&table, &["period=all"], "silent_after_days", "60");
        check(&table, &["period=all"], "gaps_n", "2");
        check(&table, &["period=all"], "is_observed_silence", "true");
        // Customer 2 is silent from day 101 on; customer 1 until day 140 not.
        check(&table, &["period=all"], "churned_n", "1");
        let alone = orders(&[(1, 0, 100)], 125);
        let none = run(&METRIC, &alone, &[Period::Month], &settings(&["L"], 125));
        assert_eq!(none.rows(), 0);
    }

    #[test]
    fn cdnow_customers_and_gaps_are_as_printed() {
        let Some(relations) = cdnow_sample() else { return };
        let as_of = from_date("1998-07-01".parse().unwrap());
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], as_of.into()));
        // Printed: 6,696 customer-days of 2,357 customers, so 4,339 gaps.
        check(&table, &["period=all"], "gaps_n", "4339");
        check(&table, &["period=all"], "customers_n", "2357");
    }
}
