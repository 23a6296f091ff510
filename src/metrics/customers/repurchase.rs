//! How many customers buy a second time, and how soon.
//!
//! Days, not transactions: two orders on one day are one purchase. Two answers stand side by side. The
//! plain share within so many days is over those alone who have had that many days; the Kaplan–Meier
//! share uses everybody for as long as they have been seen. Invariant: neither counts time that a
//! customer has not yet had against them.

use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View, by_period};
use crate::relations::Relation;
use crate::stats::interval::wilson;
use crate::stats::survival::{Curve, QuantileRule, Scale, Tally};
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY};

/// Definition: buyers are customers with a purchase day, in the period of their first order; of
/// these, those with a second one at most `horizon_days` after the first (the edge included), over
/// those whose first is at least as long ago. The row without a horizon counts every second purchase
/// by as_of over all buyers. For the whole history the Kaplan–Meier estimate stands beside it, in
/// which customers without a second purchase are censored at as_of.
///
/// Edge cases: a horizon that nobody has had is null; horizons are those of `[customers]
/// repurchase_days`. The row without a horizon is too low where buyers are young: that is what
/// `km_rate` tells, which without a horizon is that of the longest time seen.
pub static METRIC: Metric = Metric {
    name: "repurchase",
    question: "How many customers buy a second time, and how soon?",
    grain: "one row per slice, cohort (period_start) and horizon (null for any time)",
    states: &[
        State {
            relation: Relation::Purchases,
            sql: "SELECT cohort_period AS cohort, missed_horizons_n, exposed_horizons_n, is_last, \
                  COUNT(*) AS buyers_n FROM purchases WHERE is_first = 1 \
                  GROUP BY cohort, missed_horizons_n, exposed_horizons_n, is_last",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Purchases,
            sql: "SELECT gap_days, COUNT(*) AS buyers_n, SUM(is_last) AS censored_n \
                  FROM purchases WHERE is_first = 1 GROUP BY gap_days",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Line("repurchase_rate"),
    references: &[
        "Kaplan and Meier, 1958, Nonparametric Estimation from Incomplete Observations",
        "Wilson, 1927, Probable Inference, the Law of Succession, and Statistical Inference",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count(
        "horizon_days",
        "days",
        "Days after the first purchase within which the second counts; null is any time by as_of.",
    )
    .key()
    .nullable(),
    ColumnSpec::count("buyers_n", "customers", "Customers of the cohort with a purchase day."),
    ColumnSpec::count(
        "exposed_n",
        "customers",
        "Of these, those whose first purchase is at least the horizon ago; without one all.",
    ),
    ColumnSpec::count(
        "repurchased_n",
        "customers",
        "Of the exposed, those who bought on another day within the horizon.",
    ),
    ColumnSpec::rate("repurchase_rate", "repurchased_n / exposed_n."),
    ColumnSpec::rate("repurchase_rate_low", "Lower Wilson 95 % limit of repurchase_rate."),
    ColumnSpec::rate("repurchase_rate_high", "Upper Wilson 95 % limit of repurchase_rate."),
    ColumnSpec::rate(
        "km_rate",
        "Kaplan–Meier share with a second purchase by the horizon, of all buyers; null but for the \
         whole history, and where nobody was followed so long.",
    ),
    ColumnSpec::rate("km_rate_low", "Lower log-log 95 % limit of km_rate."),
    ColumnSpec::rate("km_rate_high", "Upper log-log 95 % limit of km_rate."),
    ColumnSpec::number(
        "days_to_second_p25",
        "days",
        "Days by which a quarter of all buyers has bought again, by Kaplan–Meier; in the row without \
         horizon of the whole history, null where so many never have.",
    )
    .nullable(),
    ColumnSpec::number("days_to_second_p50", "days", "The same of half of all buyers.").nullable(),
    ColumnSpec::flag("low_n", "exposed_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[Identity {
    claim: "repurchased_n ≤ exposed_n ≤ buyers_n, and exposed_n = buyers_n without a horizon",
    holds: |row| {
        let is_any = row.int("horizon_days").is_none();
        row.int("repurchased_n") <= row.int("exposed_n")
            && row.int("exposed_n") <= row.int("buyers_n")
            && (!is_any || row.int("exposed_n") == row.int("buyers_n"))
    },
}];

/// How many customers, and how far they came.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    buyers_n: i64,
    exposed_n: i64,
    repurchased_n: i64,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [cohorts, gaps] = group.states else {
        return Err(Error::Bug("repurchase has two states".into()));
    };
    for (start, [cohort]) in by_period([cohorts]) {
        let curve = if start == NO_DAY { Some(curve(gaps)?) } else { None };
        let any = (None, count(&cohort, None)?);
        push(group, rows, start, any, curve.as_ref())?;
        for (place, days) in (0_i64..).zip(&group.settings.customers.repurchase_days) {
            let own = (Some(*days), count(&cohort, Some(place))?);
            push(group, rows, start, own, curve.as_ref())?;
        }
    }
    Ok(())
}

/// The buyers of a cohort who had as long as a horizon, by its place, and those who bought again.
fn count(state: &StateView<'_>, horizon: Option<i64>) -> Result<Count, Error> {
    let (missed, exposed) = (state.key("missed_horizons_n")?, state.key("exposed_horizons_n")?);
    let rows = missed.iter().zip(exposed).zip(state.key("is_last")?).zip(state.value("buyers_n")?);
    let mut count = Count::default();
    for (((missed, exposed), is_last), n) in rows {
        let is_exposed = horizon.is_none_or(|place| *exposed > place);
        let is_in_time = horizon.is_none_or(|place| *missed <= place);
        count.buyers_n += n;
        count.exposed_n += if is_exposed { *n } else { 0 };
        count.repurchased_n += if is_exposed && is_in_time && *is_last == 0 { *n } else { 0 };
    }
    Ok(count)
}

fn curve(state: &StateView<'_>) -> Result<Curve, Error> {
    let values = state.value("buyers_n")?.iter().zip(state.value("censored_n")?);
    let tallies = state.key("gap_days")?.iter().zip(values).map(|(days, (all, censored))| Tally {
        duration: *days,
        observed: all - censored,
        censored: *censored,
    });
    Ok(Curve::fit(&tallies.collect::<Vec<_>>()))
}

fn push(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    start: Day,
    (horizon, count): (Option<i64>, Count),
    curve: Option<&Curve>,
) -> Result<(), Error> {
    let Count { buyers_n, exposed_n, repurchased_n } = count;
    let limits = wilson(repurchased_n, exposed_n, Z_95);
    // Nobody is known beyond the longest time seen.
    let known = curve.filter(|c| horizon.is_none_or(|days| c.horizon() >= Some(days)));
    let step = known.and_then(|curve| {
        curve.steps.iter().take_while(|s| horizon.is_none_or(|days| s.duration <= days)).last()
    });
    let share = known.map(|_| step.map_or(0.0, |step| 1.0 - step.survival));
    let km_limits = step.and_then(|step| step.limits(Scale::LogLog, Z_95));
    let quantile = |p| {
        let own = curve.filter(|_| horizon.is_none());
        Value::float(own.and_then(|curve| curve.quantile(p, QuantileRule::First)))
    };
    rows.push(
        start,
        &[
            ("horizon_days", Value::int(horizon)),
            ("buyers_n", Value::Int(buyers_n)),
            ("exposed_n", Value::Int(exposed_n)),
            ("repurchased_n", Value::Int(repurchased_n)),
            ("repurchase_rate", Value::float(ratio(repurchased_n, exposed_n))),
            ("repurchase_rate_low", Value::float(limits.map(|l| l.0))),
            ("repurchase_rate_high", Value::float(limits.map(|l| l.1))),
            ("km_rate", Value::float(share)),
            ("km_rate_low", Value::float(km_limits.map(|l| 1.0 - l.1))),
            ("km_rate_high", Value::float(km_limits.map(|l| 1.0 - l.0))),
            ("days_to_second_p25", quantile(0.25)),
            ("days_to_second_p50", quantile(0.5)),
            ("low_n", Value::Bool(exposed_n < group.settings.rate_floor)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{cdnow_sample, check, orders, run, settings};
    use crate::time::{Period, from_date};

    #[test]
    fn only_those_who_had_the_time_are_counted_within_it() {
        // As of day 120. Customer 1 buys on days 0 and 30, 2 on 0 and 31, 3 on 0 alone, 4 on 100
        // alone, 5 on 60 and 100.
        let found = [(1, 0), (1, 30), (2, 0), (2, 31), (3, 0), (4, 100), (5, 60), (5, 100)];
        let relations = orders(&found.map(|(customer, day)| (customer, day, 100)), 120);
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 120));
        let all = &["period=all"][..];
        check(&table, all, "horizon_days", "- 30 90 180 365");
        check(&table, all, "buyers_n", "5 5 5 5 5");
        // Customer 4 has had 20 days, customer 5 60.
        check(&table, all, "exposed_n", "5 4 3 0 0");
        check(&table, all, "repurchased_n", "3 1 2 0 0");
        check(&table, all, "repurchase_rate", "0.6 0.25 0.6666666666666666 - -");
        // Kaplan–Meier by hand: 4 is censored at 20; 1/4 at 30, 1/3 of the rest at 31, 1/2 of that at
        // 40: survival 3/4, 1/2, 1/4; 3 is censored at 120.
        check(&table, all, "km_rate", "0.75 0.25 0.75 - -");
        check(&table, all, "days_to_second_p25", "30.0 - - - -");
        check(&table, all, "days_to_second_p50", "31.0 - - - -");
        check(&table, &["period=month", "period_start=1970-01-01"], "exposed_n", "3 3 3 0 0");
        check(&table, &["period=month", "period_start=1970-01-01"], "km_rate", "- - - - -");
    }

    #[test]
    fn cdnow_repurchase_is_as_printed() {
        let Some(relations) = cdnow_sample() else { return };
        let as_of = from_date("1998-07-01".parse().unwrap());
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], as_of.into()));
        // Printed: 1,139 of 2,357 with more than one distinct day. Everybody had a year.
        let any = &["period=all", "horizon_days=-"][..];
        check(&table, any, "buyers_n", "2357");
        check(&table, any, "repurchased_n", "1139");
        let year = &["period=all", "horizon_days=365"][..];
        check(&table, year, "exposed_n", "2357");
    }
}
