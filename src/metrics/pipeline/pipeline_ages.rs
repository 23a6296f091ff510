//! `pipeline_ages`: how long open deals were in their stage at the end of every period, and which were
//! stale.
//!
//! It has nearly as many sums as deals, so it is split by dimensions only where the configuration asks
//! it of the table; how many are open, with mean ages, is in [`super::pipeline_snapshot`].
//!
//! Invariant: deals stale by the longer limit are stale by the shorter one.

use std::collections::BTreeMap;

use super::{Changes, is_complete, last_day, periods};
use crate::error::Error;
use crate::metrics::durations::Counted;
use crate::metrics::funnel::Places;
use crate::metrics::{
    Absent, Group, Identity, Metric, NO_KEY, PIPELINE, Rows, State, StateView, View, period_start,
};
use crate::relations::Relation;
use crate::stats::float;
use crate::stats::survival::{Curve, QuantileRule, Tally};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, Period, Resolution};

/// Definition: ages of the open deals in civil days up to the last day of the period, or that of as_of.
/// A deal is stale when it is longer in its stage than 75 (90) % of all visits to the stage stay, by
/// Kaplan and Meier over the slice's visits as of the run, open ones censored.
///
/// Edge cases: limits that the curve does not reach are null, and so is the number of stale deals; a
/// deal in no stage is in START and has no age there.
pub static METRIC: Metric = Metric {
    name: "pipeline_ages",
    question: "How long have open deals been in their stage, and how many are stale?",
    grain: "one row per slice, period, pipeline and stage with open deals",
    states: &[
        State {
            relation: Relation::PipelineStock,
            sql: "SELECT grain, period_start, pipeline, stage, stage_entered_on, \
                  SUM(open_n) AS held_n FROM pipeline_stock \
                  GROUP BY grain, period_start, pipeline, stage, stage_entered_on",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::PipelineStock,
            sql: "SELECT grain, period_start, pipeline, stage, created_on, \
                  SUM(open_n) AS held_n FROM pipeline_stock \
                  GROUP BY grain, period_start, pipeline, stage, created_on",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Visits,
            sql: "SELECT entered_period AS period, stage, dwell_days, is_censored, \
                  COUNT(*) AS visits_n FROM visits \
                  WHERE stage_class <> 'won' AND stage_class <> 'lost' AND is_negative = 0 \
                  GROUP BY period, stage, dwell_days, is_censored",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Bars("stage_age_days_p50"),
    references: &[
        "Kaplan and Meier, 1958, Nonparametric Estimation from Incomplete Observations",
        "Hyndman and Fan, 1996, Sample Quantiles in Statistical Packages (type 7)",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    PIPELINE,
    ColumnSpec::count("stage_order", "place", "Place of the stage in the pipeline; 0 for START.")
        .key(),
    ColumnSpec::text("stage", "Name of the stage; START where the deals are in none.").key(),
    ColumnSpec::count("open_n", "deals", "Open deals in the stage when the period ends."),
    ColumnSpec::days("stage_age_days_mean", "Mean time that they are in the stage so far."),
    ColumnSpec::days("stage_age_days_p25", "0.25-quantile (type 7) of that time."),
    ColumnSpec::days("stage_age_days_p50", "Median (type 7) of that time."),
    ColumnSpec::days("stage_age_days_p75", "0.75-quantile (type 7) of that time."),
    ColumnSpec::days("stage_age_days_p90", "0.9-quantile (type 7) of that time."),
    ColumnSpec::days("deal_age_days_mean", "Mean time since their creation."),
    ColumnSpec::days("deal_age_days_p50", "Median (type 7) of that time."),
    ColumnSpec::days("deal_age_days_p90", "0.9-quantile (type 7) of that time."),
    ColumnSpec::days(
        "stale_days_p75",
        "The time by which 75 % of the visits to the stage have ended (Kaplan–Meier, as of the \
         run); null where it is not reached.",
    ),
    ColumnSpec::days("stale_days_p90", "The same for 90 %."),
    ColumnSpec::count("stale_p75_n", "deals", "Deals longer in the stage than stale_days_p75.")
        .nullable(),
    ColumnSpec::count("stale_p90_n", "deals", "Deals longer in the stage than stale_days_p90.")
        .nullable(),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; else this is as_of."),
    ColumnSpec::flag("low_n", "Fewer open deals than the quantile floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "stale_p90_n ≤ stale_p75_n ≤ open_n where both are known, and open_n is above 0",
        holds: |row| match (row.int("stale_p75_n"), row.int("stale_p90_n")) {
            (Some(shorter), longer) => {
                longer.is_none_or(|n| n <= shorter) && Some(shorter) <= row.int("open_n")
            }
            (None, longer) => longer.is_none() && row.int("open_n") > Some(0),
        },
    },
    Identity {
        claim: "quantiles of ages ascend and none is below 0",
        holds: |row| {
            let names = ["p25", "p50", "p75", "p90"].map(|p| format!("stage_age_days_{p}"));
            let ages: Vec<f64> = names.iter().filter_map(|name| row.float(name)).collect();
            ages.is_sorted() && ages.first().is_none_or(|least| *least >= 0.0)
        },
    },
];

/// Pipeline and stage, by their codes.
type At = (i64, i64);

/// What is open in one stage.
#[derive(Debug, Default)]
struct Held {
    /// Deals by the day on which they entered the stage.
    entered: BTreeMap<i64, i64>,
    /// Deals by the day of their creation.
    created: BTreeMap<i64, i64>,
}

impl Held {
    fn n(&self) -> i64 {
        self.created.values().sum()
    }
}

/// How long visits stay, by stage: the limits for three and nine in ten.
type Limits = BTreeMap<i64, [Option<f64>; 2]>;

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [entered, created, visits] = group.states else {
        return Err(Error::Bug("the ages have three states".into()));
    };
    let firsts = if group.period == Period::All { &[] } else { created.key("period_start")? };
    let all = periods(group, firsts.iter().min().map(|first| period_start(*first)));
    if all.is_empty() {
        return Ok(());
    }
    let (places, limits) = (Places::of(group.settings), limits(visits)?);
    let mut held: BTreeMap<At, Held> = BTreeMap::new();
    let mut changes = Changes::new([entered, created]);
    for start in all {
        while let Some(rows) = changes.take(0, start) {
            add_days(&mut held, &rows, "stage_entered_on", |held| &mut held.entered)?;
        }
        while let Some(rows) = changes.take(1, start) {
            add_days(&mut held, &rows, "created_on", |held| &mut held.created)?;
        }
        for (at, held) in held.iter().filter(|(_, held)| held.n() != 0) {
            let (place, settings) = (places.at(at.1)?, group.settings);
            let pipeline = settings.pipelines.name(at.0, &settings.dictionaries);
            let row = Row { group, start, held, limits: limits.get(&at.1) };
            let mut values = vec![
                ("pipeline", Value::Text(pipeline)),
                ("stage_order", Value::Int(place.order)),
                ("stage", Value::Text(place.name)),
            ];
            values.extend(row.values());
            rows.push(start, &values)?;
        }
    }
    Ok(())
}

/// How long visits to each stage stay.
fn limits(visits: &StateView<'_>) -> Result<Limits, Error> {
    let (stages, days) = (visits.key("stage")?, visits.key("dwell_days")?);
    let (censored, counts) = (visits.key("is_censored")?, visits.value("visits_n")?);
    let mut tallies: BTreeMap<i64, BTreeMap<i64, Tally>> = BTreeMap::new();
    for ((stage, days), (is_censored, n)) in
        stages.iter().zip(days).zip(censored.iter().zip(counts))
    {
        let none = Tally { duration: *days, observed: 0, censored: 0 };
        let own = tallies.entry(*stage).or_default().entry(*days).or_insert(none);
        match is_censored {
            0 => own.observed += n,
            _ => own.censored += n,
        }
    }
    let limits = |tallies: BTreeMap<i64, Tally>| {
        let curve = Curve::fit(&tallies.into_values().collect::<Vec<_>>());
        [0.75, 0.9].map(|share| curve.quantile(share, QuantileRule::First))
    };
    Ok(tallies.into_iter().map(|(stage, tallies)| (stage, limits(tallies))).collect())
}

fn add_days(
    held: &mut BTreeMap<At, Held>,
    rows: &StateView<'_>,
    key: &str,
    pick: fn(&mut Held) -> &mut BTreeMap<i64, i64>,
) -> Result<(), Error> {
    let at = rows.key("pipeline")?.iter().zip(rows.key("stage")?);
    let days = rows.key(key)?.iter().zip(rows.value("held_n")?);
    for ((pipeline, stage), (day, more)) in at.zip(days) {
        let counts = pick(held.entry((*pipeline, *stage)).or_default());
        let n = counts.get(day).copied().unwrap_or(0) + more;
        match n {
            0 => counts.remove(day),
            n => counts.insert(*day, n),
        };
    }
    Ok(())
}

/// One row of the table.
struct Row<'r> {
    group: &'r Group<'r>,
    start: Day,
    held: &'r Held,
    limits: Option<&'r [Option<f64>; 2]>,
}

impl Row<'_> {
    /// Ages in days, ascending, and how many deals are of each.
    fn ages(&self, since: &BTreeMap<i64, i64>) -> (Vec<i64>, Vec<i64>) {
        let last = i64::from(last_day(self.group, self.start));
        let known = since.iter().rev().filter(|(day, _)| **day != NO_KEY);
        known.map(|(day, n)| (last - day, n)).unzip()
    }

    fn values(&self) -> [(&'static str, Value<'static>); 15] {
        let (ages, counts) = self.ages(&self.held.entered);
        let in_stage = Counted::of(&ages, &counts, 0..ages.len());
        let (deal_ages, deal_counts) = self.ages(&self.held.created);
        let of_deal = Counted::of(&deal_ages, &deal_counts, 0..deal_ages.len());
        let age = |of: &Counted<'_>, p| Value::float(of.quantile_days(p, Resolution::Day));
        let mean = |of: &Counted<'_>| Value::float(of.mean_days(Resolution::Day));
        let [short, long] = self.limits.copied().unwrap_or_default();
        let stale = |limit: Option<f64>| {
            let longer = |limit: f64| {
                let own = ages.iter().zip(&counts).filter(|(age, _)| float(**age) > limit);
                own.map(|(_, n)| n).sum()
            };
            Value::int(limit.map(longer))
        };
        let n = self.held.n();
        [
            ("open_n", Value::Int(n)),
            ("stage_age_days_mean", mean(&in_stage)),
            ("stage_age_days_p25", age(&in_stage, 0.25)),
            ("stage_age_days_p50", age(&in_stage, 0.5)),
            ("stage_age_days_p75", age(&in_stage, 0.75)),
            ("stage_age_days_p90", age(&in_stage, 0.9)),
            ("deal_age_days_mean", mean(&of_deal)),
            ("deal_age_days_p50", age(&of_deal, 0.5)),
            ("deal_age_days_p90", age(&of_deal, 0.9)),
            ("stale_days_p75", Value::float(short)),
            ("stale_days_p90", Value::float(long)),
            ("stale_p75_n", stale(short)),
            ("stale_p90_n", stale(long)),
            ("is_complete_period", Value::Bool(is_complete(self.group, self.start))),
            ("low_n", Value::Bool(n < self.group.settings.quantile_floor)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{FIXTURE_STAGES, check, eight_deals_fixture, run, settings};
    use crate::relations::fixture::Fixture;
    use crate::table::Table;

    /// As of 15 March 1970. At the end of January: one deal in L since the 11th, one in Q since the
    /// 21st. In February the second is closed and the first goes to Q on the 10th (day 40).
    fn months() -> Table {
        let mut fixture = Fixture::new(&["L", "Q", "Won", "Lost"])
            .relation(Relation::PipelineStock)
            .relation(Relation::Visits);
        for line in [
            "period_start=0 stage=L stage_entered_on=10 created_on=10 open_n=1",
            "period_start=0 stage=Q stage_entered_on=20 created_on=5 open_n=1",
            "period_start=31 stage=Q stage_entered_on=20 created_on=5 open_n=-1",
            "period_start=31 stage=L stage_entered_on=10 created_on=10 open_n=-1",
            "period_start=31 stage=Q stage_entered_on=40 created_on=10 open_n=1",
        ] {
            fixture = fixture.line(Relation::PipelineStock, &format!("grain=month {line}"));
        }
        // Visits to Q: 2, 4, 6 and 8 days, and one still there after 33.
        for (days, is_censored) in [(2, 0), (4, 0), (6, 0), (8, 0), (33, 1)] {
            let line = format!(
                "entered_period=0 stage=Q stage_class=open dwell_days={days} \
                 is_censored={is_censored}"
            );
            fixture = fixture.line(Relation::Visits, &line);
        }
        run(&METRIC, &fixture.build(), &[Period::Month], &settings(&["L", "Q"], 73))
    }

    #[test]
    fn ages_grow_while_nothing_happens() {
        let table = months();
        let at = ["period=month"];
        // Last days 30, 58 and, as of then, 73; in the stage since 10, 20, 40, 40.
        check(&table, &at, "stage_age_days_p50", "20.0 10.0 18.0 33.0");
        check(&table, &at, "deal_age_days_mean", "20.0 25.0 48.0 63.0");
    }

    #[test]
    fn stale_is_by_the_time_that_visits_to_the_stage_take() {
        let table = months();
        // Kaplan–Meier of 2 4 6 8 33+: S = .8 .6 .4 .2, so 75 % have left by 8, and 90 % never.
        check(&table, &["stage=Q"], "stale_days_p75", "8.0 8.0 8.0");
        check(&table, &["stage=Q"], "stale_days_p90", "- - -");
        check(&table, &["stage=Q"], "stale_p75_n", "1 1 1");
        check(&table, &["stage=Q"], "stale_p90_n", "- - -");
        check(&table, &["stage=L"], "stale_days_p75", "-");
    }

    #[test]
    fn eight_deals_worked_by_hand_leave_two_open() {
        // As of day 20: D7 in L since 0, D4 in Q since 3. Of the closed deals D1 D2 D8 (won) and D3 D5
        // (lost) had visited L, D1 D8 (won) and D3 D6 (lost) Q. Visits to Q took 3 3 2 1 0 and 17+:
        // Kaplan–Meier 5/6 4/6 3/6 1/6, so 75 % have left by 3; those to L 2 3 1 3 7 0 and 20+:
        // 6/7 5/7 4/7 2/7 1/7, so 75 % by 7.
        let relations = eight_deals_fixture()
            .line(
                Relation::PipelineStock,
                "grain=month period_start=0 stage=L stage_entered_on=0 created_on=0 open_n=1 \
                 amount=200 amounts_n=1 unweighted_amount=200",
            )
            .line(
                Relation::PipelineStock,
                "grain=month period_start=0 stage=Q stage_entered_on=3 created_on=0 open_n=1 \
                 amount=200 amounts_n=1 unweighted_amount=200",
            )
            .build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&FIXTURE_STAGES, 20));
        check(&table, &[], "stage", "L Q");
        check(&table, &[], "stage_age_days_mean", "20.0 17.0");
        check(&table, &[], "stale_days_p75", "7.0 3.0");
        check(&table, &[], "stale_p75_n", "1 1");
    }
}
