//! How long deals stay in each stage, and where they wait most.
//!
//! A mean of ended visits forgets those still waiting; a mean over all deals counts them as if they
//! left today. Each is here under its own name, beside the estimates that treat waiting visits as
//! what they are: censored. It says nothing of where deals go; that is `stage_transitions`.
//! Invariant: per stage, visits are completed, open or negative, and nothing else.

use std::collections::BTreeMap;

use super::{NO_DURATION, Places};
use crate::error::Error;
use crate::metrics::durations::{Durations, curve_days, limits_days, mean_days, tally};
use crate::metrics::{Absent, Group, Identity, Metric, PIPELINE, Rows, State, StateView, View};
use crate::relations::Relation;
use crate::stats::ratio;
use crate::stats::survival::{Curve, QuantileRule, Tally};
use crate::table::{ColumnSpec, Value};
use crate::time::Day;

/// Definition: visits to a stage by the period in which they began; time is from entry to exit, or
/// to as_of for a visit that has not ended.
///
/// Edge cases: won and lost stages are left out, because nothing waits there; a visit ended by
/// deletion counts as open, because its end is not known; a visit that ends before it begins is
/// counted and has no time.
pub static METRIC: Metric = Metric {
    name: "stage_time",
    question: "How long do deals stay in each stage, and which stage holds them up?",
    grain: "one row per slice, period of entry, pipeline and stage",
    states: &[State {
        relation: Relation::Visits,
        sql: "SELECT entered_period AS period, stage, \
              CASE WHEN is_negative = 1 THEN -1 ELSE dwell END AS time_in_stage, is_censored, \
              COUNT(*) AS visits_n, SUM(is_first_visit) AS first_n, SUM(is_last_visit) AS last_n, \
              SUM(CASE WHEN move = 'lost' THEN 1 ELSE 0 END) AS lost_n, \
              SUM(CASE WHEN visit_no = 2 THEN 1 ELSE 0 END) AS second_n, \
              SUM(CASE WHEN visit_no > 1 THEN 1 ELSE 0 END) AS repeat_n \
              FROM visits WHERE stage_class <> 'won' AND stage_class <> 'lost' \
              GROUP BY period, stage, time_in_stage, is_censored",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Bars("wait_share"),
    references: &[
        "Kaplan and Meier, 1958, Nonparametric Estimation from Incomplete Observations",
        "Brookmeyer and Crowley, 1982, A Confidence Interval for the Median Survival Time",
    ],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    PIPELINE,
    ColumnSpec::count("stage_order", "place", "Place of the stage in the pipeline, from 1.").key(),
    ColumnSpec::text("stage", "Name of the stage.").key(),
    ColumnSpec::count("visits_n", "visits", "Visits that began in the period."),
    ColumnSpec::count("completed_n", "visits", "Visits that have ended."),
    ColumnSpec::count("open_n", "visits", "Visits not ended by as_of, or ended by deletion."),
    ColumnSpec::count("negative_n", "visits", "Visits that end before they begin; not timed."),
    ColumnSpec::count("deals_n", "deals", "Deals whose first visit to the stage is among these."),
    ColumnSpec::days("dwell_days_mean_completed", "Mean time of the completed visits."),
    ColumnSpec::days(
        "dwell_days_mean_per_deal",
        "Time of all visits, open ones until as_of, per deal of deals_n: the common CRM style.",
    ),
    ColumnSpec::days(
        "dwell_days_mean_exposure",
        "Time of all visits per completed visit: right for open visits if the chance to leave \
         does not change with time.",
    ),
    ColumnSpec::days("dwell_days_mean_first_visit", "Mean time of completed first visits."),
    ColumnSpec::days("dwell_days_mean_last_visit", "Mean time of completed last visits."),
    ColumnSpec::days(
        "dwell_days_km_p50",
        "Kaplan–Meier median, open visits censored: the first time by which half have left; null \
         where it is not reached.",
    ),
    ColumnSpec::days("dwell_days_km_p50_low", "Lower log-log 95 % limit of that median."),
    ColumnSpec::days("dwell_days_km_p50_high", "Upper log-log 95 % limit; null if not reached."),
    ColumnSpec::days(
        "dwell_days_km_p50_midpoint",
        "The same median, but the midpoint where exactly half stay over an interval (R's rule).",
    ),
    ColumnSpec::days("dwell_days_p50", "Median time (type 7) of the completed visits."),
    ColumnSpec::days("dwell_days_p90", "0.9-quantile (type 7) of the completed visits' time."),
    ColumnSpec::days("wait_days", "Time of all visits, open ones until as_of."),
    ColumnSpec::rate("wait_share", "wait_days as a share of those of all stages of the pipeline."),
    ColumnSpec::count("lost_n", "visits", "Visits that ended with the loss of the deal."),
    ColumnSpec::rate("loss_share", "lost_n as a share of those of all stages of the pipeline."),
    ColumnSpec::count(
        "bottleneck_rank",
        "place",
        "1 for the stage of the pipeline with the largest wait_days; of equals the earlier stage.",
    ),
    ColumnSpec::count(
        "rework_deals_n",
        "deals",
        "Deals that came back: those whose second visit began in the period.",
    ),
    ColumnSpec::days("rework_days", "Time of all visits after a deal's first to the stage."),
    ColumnSpec::flag("low_n", "Fewer completed visits than the quantile floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "visits_n = completed_n + open_n + negative_n",
        holds: |row| {
            let parts = [row.int("completed_n"), row.int("open_n"), row.int("negative_n")];
            row.int("visits_n") == parts.into_iter().sum::<Option<i64>>()
        },
    },
    Identity {
        claim: "deals_n ≤ visits_n and rework_deals_n ≤ visits_n",
        holds: |row| {
            let visits = row.int("visits_n");
            row.int("deals_n") <= visits && row.int("rework_deals_n") <= visits
        },
    },
];

/// What is known of the visits to one stage that began in one period.
#[derive(Debug, Default)]
struct Stay {
    stage: i64,
    visits_n: i64,
    negative_n: i64,
    open_n: i64,
    deals_n: i64,
    lost_n: i64,
    rework_deals_n: i64,
    completed: Durations,
    first: Durations,
    last: Durations,
    tallies: Vec<Tally>,
    wait: i128,
    rework: i128,
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the stage time has one state".into()));
    };
    let places = Places::of(group.settings);
    for (start, of_period) in state.by_period() {
        let of_stages = of_period.without_first_key();
        let mut by_pipeline: BTreeMap<&str, Vec<Stay>> = BTreeMap::new();
        for run in of_stages.runs(1) {
            let stay = read_stay(&of_stages.part(run))?;
            by_pipeline.entry(places.at(stay.stage)?.pipeline).or_default().push(stay);
        }
        for stays in by_pipeline.values() {
            push_stays(group, rows, &places, start, stays)?;
        }
    }
    Ok(())
}

fn read_stay(state: &StateView<'_>) -> Result<Stay, Error> {
    let (stages, times) = (state.key("stage")?, state.key("time_in_stage")?);
    let censored = state.key("is_censored")?;
    let (visits, lost) = (state.value("visits_n")?, state.value("lost_n")?);
    let (first, last) = (state.value("first_n")?, state.value("last_n")?);
    let (second, repeat) = (state.value("second_n")?, state.value("repeat_n")?);
    let at = |column: &[i64], row: usize| column.get(row).copied().unwrap_or(0);
    let mut stay = Stay { stage: at(stages, 0), ..Stay::default() };
    for row in 0..state.rows() {
        let (time, n) = (at(times, row), at(visits, row));
        stay.visits_n += n;
        stay.deals_n += at(first, row);
        stay.lost_n += at(lost, row);
        stay.rework_deals_n += at(second, row);
        if time == NO_DURATION {
            stay.negative_n += n;
            continue;
        }
        stay.wait += i128::from(time) * i128::from(n);
        stay.rework += i128::from(time) * i128::from(at(repeat, row));
        if at(censored, row) == 1 {
            stay.open_n += n;
            tally(&mut stay.tallies, time, 0, n);
        } else {
            tally(&mut stay.tallies, time, n, 0);
            stay.completed.add(time, n);
            stay.first.add(time, at(first, row));
            stay.last.add(time, at(last, row));
        }
    }
    Ok(stay)
}

fn push_stays(
    group: &Group<'_>,
    rows: &mut Rows<'_>,
    places: &Places<'_>,
    start: Day,
    stays: &[Stay],
) -> Result<(), Error> {
    let (wait, lost_n) = (stays.iter().map(|s| s.wait).sum(), stays.iter().map(|s| s.lost_n).sum());
    for (position, stay) in stays.iter().enumerate() {
        // Stages come in the order of the pipeline; of equals the earlier one is the worse.
        let worse = stays
            .iter()
            .enumerate()
            .filter(|(other, s)| s.wait > stay.wait || s.wait == stay.wait && *other < position);
        let rank = i64::try_from(worse.count() + 1).unwrap_or(i64::MAX);
        let totals = Totals { wait, lost_n, rank };
        let place = places.at(stay.stage)?;
        let name = ("stage", Value::Text(place.name));
        let mut values = vec![("pipeline", Value::Text(place.pipeline))];
        values.extend([("stage_order", Value::Int(place.order)), name]);
        values.extend(measures(stay, &totals, group));
        rows.push(start, &values)?;
    }
    Ok(())
}

/// What a stage is compared with.
struct Totals {
    wait: i128,
    lost_n: i64,
    rank: i64,
}

fn measures(
    stay: &Stay,
    totals: &Totals,
    group: &Group<'_>,
) -> [(&'static str, Value<'static>); 24] {
    let resolution = group.settings.resolution;
    let completed_n = stay.completed.counted().count();
    let curve = Curve::fit(&stay.tallies);
    let (low, high) = limits_days(&curve, 0.5, resolution);
    let median = |rule| Value::float(curve_days(&curve, 0.5, rule, resolution));
    let wait_share = (totals.wait > 0).then(|| stay.wait as f64 / totals.wait as f64);
    let mean = |durations: &Durations| Value::float(durations.counted().mean_days(resolution));
    [
        ("visits_n", Value::Int(stay.visits_n)),
        ("completed_n", Value::Int(completed_n)),
        ("open_n", Value::Int(stay.open_n)),
        ("negative_n", Value::Int(stay.negative_n)),
        ("deals_n", Value::Int(stay.deals_n)),
        ("dwell_days_mean_completed", mean(&stay.completed)),
        ("dwell_days_mean_per_deal", Value::float(mean_days(stay.wait, stay.deals_n, resolution))),
        ("dwell_days_mean_exposure", Value::float(mean_days(stay.wait, completed_n, resolution))),
        ("dwell_days_mean_first_visit", mean(&stay.first)),
        ("dwell_days_mean_last_visit", mean(&stay.last)),
        ("dwell_days_km_p50", median(QuantileRule::First)),
        ("dwell_days_km_p50_low", Value::float(low)),
        ("dwell_days_km_p50_high", Value::float(high)),
        ("dwell_days_km_p50_midpoint", median(QuantileRule::Midpoint)),
        ("dwell_days_p50", Value::float(stay.completed.counted().quantile_days(0.5, resolution))),
        ("dwell_days_p90", Value::float(stay.completed.counted().quantile_days(0.9, resolution))),
        ("wait_days", Value::float(mean_days(stay.wait, 1, resolution))),
        ("wait_share", Value::float(wait_share)),
        ("lost_n", Value::Int(stay.lost_n)),
        ("loss_share", Value::float(ratio(stay.lost_n, totals.lost_n))),
        ("bottleneck_rank", Value::Int(totals.rank)),
        ("rework_deals_n", Value::Int(stay.rework_deals_n)),
        ("rework_days", Value::float(mean_days(stay.rework, 1, resolution))),
        ("low_n", Value::Bool(completed_n < group.settings.quantile_floor)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{
        FIXTURE_STAGES, check, eight_deals, eight_deals_fixture, run, settings,
    };
    use crate::table::Table;
    use crate::time::Period;

    fn fixture() -> Table {
        run(&METRIC, &eight_deals(), &[Period::Month], &settings(&FIXTURE_STAGES, 20))
    }

    #[track_caller]
    fn check_stages(column: &str, expected: &str) {
        check(&fixture(), &["period=month"], column, expected);
        check(&fixture(), &["period=all"], column, expected);
    }

    #[test]
    fn fixture_times_are_reproduced_by_every_meaning() {
        check_stages("stage", "L Q P");
        check_stages("visits_n", "7 6 7");
        check_stages("completed_n", "6 5 7");
        check_stages("open_n", "1 1 0");
        check_stages("dwell_days_mean_completed", "2.6666666666666665 1.8 2.5714285714285716");
        check_stages("dwell_days_p50", "2.5 2.0 2.0");
        check_stages("dwell_days_mean_exposure", "6.0 5.2 2.5714285714285716");
        check_stages("dwell_days_km_p50", "3.0 2.0 2.0");
        check_stages("dwell_days_km_p50_midpoint", "3.0 2.5 2.0");
    }

    #[test]
    fn visits_per_deal_differ_from_visits() {
        // Time in L 36 over 7 deals, in Q 26 over 5, in P 18 over 5.
        check_stages("deals_n", "7 5 5");
        check_stages("dwell_days_mean_per_deal", "5.142857142857143 5.2 3.6");
        // Q, first visits that ended: 3 3 1 0; last ones: 3 2 1 0.
        check(&fixture(), &["period=all", "stage=Q"], "dwell_days_mean_first_visit", "1.75");
        check(&fixture(), &["period=all", "stage=Q"], "dwell_days_mean_last_visit", "1.5");
    }

    #[test]
    fn rework_is_deals_that_came_back_and_their_time() {
        check_stages("rework_deals_n", "0 1 2");
        // Q: D3 from 6 to 8. P: D3 from 8 to 10, D6 from 5 to 12.
        check_stages("rework_days", "0.0 2.0 9.0");
    }

    #[test]
    fn stages_rank_by_the_time_that_deals_wait_there() {
        check_stages("wait_days", "36.0 26.0 18.0");
        check_stages("wait_share", "0.45 0.325 0.225");
        check_stages("bottleneck_rank", "1 2 3");
        check_stages("lost_n", "1 0 2");
        check_stages("loss_share", "0.3333333333333333 0.0 0.6666666666666666");
    }

    #[test]
    fn visit_that_ends_before_it_begins_is_counted_and_not_timed() {
        let relations = eight_deals_fixture()
            .line(
                Relation::Visits,
                "stage=L stage_class=open stage_order=1 visit_no=1 next_stage=Q move=advanced \
                 entered_period=0 dwell=-3 is_negative=1 is_first_visit=1 is_last_visit=1",
            )
            .build();
        let table = run(&METRIC, &relations, &[], &settings(&FIXTURE_STAGES, 20));
        check(&table, &["stage=L"], "visits_n", "8");
        check(&table, &["stage=L"], "negative_n", "1");
        check(&table, &["stage=L"], "dwell_days_mean_exposure", "6.0");
    }
}
