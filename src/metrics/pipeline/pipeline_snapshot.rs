//! `pipeline_snapshot`: what was open at the end of every period, stage by stage.
//!
//! It is what a run as of then would have said: deals are in the stage, with the amount, owner and
//! close date that they had. Only how long visits to a stage stay, and whether the deals closed by
//! then stayed closed, is told by what is known since. How one end became the next is
//! [`super::pipeline_waterfall`].
//!
//! Invariant: deals stale by the longer limit are stale by the shorter one, and no part exceeds the
//! open deals.

use std::collections::BTreeMap;

use super::{is_complete, last_day, periods};
use crate::error::Error;
use crate::metrics::durations::Counted;
use crate::metrics::funnel::Places;
use crate::metrics::{
    Absent, Group, Identity, Metric, NO_KEY, PIPELINE, Rows, State, StateView, View, period_start,
};
use crate::relations::Relation;
use crate::stats::survival::{Curve, QuantileRule, Tally};
use crate::stats::{float, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, Period, Resolution};

/// Definition: open deals at the end of the last day of the period, or of as_of's. Ages are civil days
/// up to that day. The weighted amount is the amount times the chance of winning: the deal's own, or
/// else that given for its stage, or else, by history, the share won of the deals closed by then that
/// had visited the stage. A deal is stale when it is longer in its stage than 75 (90) % of all visits
/// to the stage stay, by Kaplan and Meier over the slice's visits as of the run, open ones censored.
/// It is overdue when its expected close is before that day.
///
/// Edge cases: unknown amounts are 0 and counted; a deal without an amount but with a chance weighs
/// nothing; the weighted amount is null where a deal has no chance of either kind; limits that the
/// curve does not reach are null, and so is the number of stale deals; a deal in no stage is in START.
pub static METRIC: Metric = Metric {
    name: "pipeline_snapshot",
    question: "What was open at the end of each period, in which stage, and for how long?",
    grain: "one row per slice, period, pipeline and stage with open deals",
    states: &[
        State {
            relation: Relation::OpenDeals,
            sql: "SELECT grain, period_start, pipeline, stage, SUM(open_n) AS held_n, \
                  SUM(amount) AS held_amount, SUM(amounts_n) AS known_n, \
                  SUM(weighted_n) AS given_n, SUM(weighted_amount) AS given_amount, \
                  SUM(unweighted_amount) AS rest_amount, SUM(overdue_n) AS late_n, \
                  SUM(overdue_amount) AS late_amount \
                  FROM open_deals GROUP BY grain, period_start, pipeline, stage",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::OpenDeals,
            sql: "SELECT grain, period_start, pipeline, stage, stage_entered_on, \
                  SUM(open_n) AS held_n FROM open_deals \
                  GROUP BY grain, period_start, pipeline, stage, stage_entered_on",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::OpenDeals,
            sql: "SELECT grain, period_start, pipeline, stage, created_on, \
                  SUM(open_n) AS held_n FROM open_deals \
                  GROUP BY grain, period_start, pipeline, stage, created_on",
            absent: Absent::SkipTable,
        },
        State {
            relation: Relation::Deals,
            sql: "SELECT closed_period AS period, pipeline, touched_stages, \
                  SUM(is_won) AS won_n, SUM(is_lost) AS lost_n \
                  FROM deals WHERE is_won = 1 OR is_lost = 1 \
                  GROUP BY period, pipeline, touched_stages",
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
    view: View::Bars("open_amount"),
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
    ColumnSpec::money("open_amount", "Their amount then; unknown amounts add nothing."),
    ColumnSpec::count("unknown_amount_n", "deals", "Of these, deals of an unknown amount."),
    ColumnSpec::money(
        "weighted_amount",
        "Their amount times the chance of winning, given or by history; null where neither is.",
    )
    .nullable(),
    ColumnSpec::count("given_chance_n", "deals", "Of these, deals whose chance is given."),
    ColumnSpec::rate(
        "history_win_rate",
        "Share won of the deals closed by the end of the period that had visited the stage.",
    ),
    ColumnSpec::count("history_closed_n", "deals", "Deals that this share is of."),
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
    ColumnSpec::count("overdue_n", "deals", "Deals past their expected close date by then."),
    ColumnSpec::money("overdue_amount", "Their amount."),
    ColumnSpec::flag("is_complete_period", "The period has ended by as_of; else this is as_of."),
    ColumnSpec::flag("low_n", "Fewer open deals than the quantile floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "0 < open_n, and unknown_amount_n, given_chance_n and overdue_n are parts of it",
        holds: |row| {
            let parts = ["unknown_amount_n", "given_chance_n", "overdue_n"];
            let open_n = row.int("open_n");
            open_n > Some(0) && parts.iter().all(|n| row.int(n) >= Some(0) && row.int(n) <= open_n)
        },
    },
    Identity {
        claim: "stale_p90_n ≤ stale_p75_n ≤ open_n where both are known",
        holds: |row| match (row.int("stale_p75_n"), row.int("stale_p90_n")) {
            (Some(shorter), longer) => {
                longer.is_none_or(|n| n <= shorter) && Some(shorter) <= row.int("open_n")
            }
            (None, longer) => longer.is_none(),
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
    n: i64,
    amount: i64,
    known_n: i64,
    given_n: i64,
    given_amount: i64,
    rest_amount: i64,
    late_n: i64,
    late_amount: i64,
    /// Deals by the day on which they entered the stage.
    entered: BTreeMap<i64, i64>,
    /// Deals by the day of their creation.
    created: BTreeMap<i64, i64>,
}

/// One of the things that are held.
type Pick<T> = fn(&mut Held) -> &mut T;

/// What is known of closed deals so far: won and lost, by pipeline and the stages they visited.
type Closed = BTreeMap<At, [i64; 2]>;

/// How long visits stay, by stage: the limits for three and nine in ten.
type Limits = BTreeMap<i64, [Option<f64>; 2]>;

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [levels, entered, created, closed, visits] = group.states else {
        return Err(Error::Bug("the snapshot has five states".into()));
    };
    let firsts = if group.period == Period::All { &[] } else { levels.key("period_start")? };
    let all = periods(group, firsts.iter().min().map(|first| period_start(*first)));
    if all.is_empty() {
        return Ok(());
    }
    let (places, limits) = (Places::of(group.settings), limits(visits)?);
    let mut told = Told { held: BTreeMap::new(), closed: Closed::new() };
    let mut changes = Changes::new([levels, entered, created, closed]);
    for start in all {
        told.go_on(&mut changes, start)?;
        for (at, held) in told.held.iter().filter(|(_, held)| held.n != 0) {
            let place = places.at(at.1)?;
            let settings = group.settings;
            let pipeline = settings.pipelines.name(at.0, &settings.dictionaries);
            let history = told.history(*at, place.order, settings.pipelines.open_stages(pipeline));
            let row = Row { group, start, held, history, limits: limits.get(&at.1) };
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

/// The states' rows of each period that have not been taken, in order.
struct Changes<'a>(
    [std::vec::IntoIter<(Day, StateView<'a>)>; 4],
    [Option<(Day, StateView<'a>)>; 4],
);

impl<'a> Changes<'a> {
    fn new(states: [&StateView<'a>; 4]) -> Self {
        let mut rest = states.map(|state| state.by_period().into_iter());
        let next = rest.each_mut().map(Iterator::next);
        Self(rest, next)
    }

    /// The next rows of a state that are not after a period.
    fn take(&mut self, state: usize, until: Day) -> Option<StateView<'a>> {
        let (rest, next) = (self.0.get_mut(state)?, self.1.get_mut(state)?);
        if next.as_ref().is_none_or(|(start, _)| *start > until) {
            return None;
        }
        std::mem::replace(next, rest.next()).map(|(_, rows)| rows)
    }
}

/// What is told up to the end of a period.
struct Told {
    held: BTreeMap<At, Held>,
    closed: Closed,
}

impl Told {
    fn go_on(&mut self, changes: &mut Changes<'_>, until: Day) -> Result<(), Error> {
        while let Some(rows) = changes.take(0, until) {
            self.add_levels(&rows)?;
        }
        while let Some(rows) = changes.take(1, until) {
            self.add_days(&rows, "stage_entered_on", |held| &mut held.entered)?;
        }
        while let Some(rows) = changes.take(2, until) {
            self.add_days(&rows, "created_on", |held| &mut held.created)?;
        }
        while let Some(rows) = changes.take(3, until) {
            let keys = rows.key("pipeline")?.iter().zip(rows.key("touched_stages")?);
            let counts = rows.value("won_n")?.iter().zip(rows.value("lost_n")?);
            for ((pipeline, touched), (won, lost)) in keys.zip(counts) {
                let [won_n, lost_n] = self.closed.entry((*pipeline, *touched)).or_default();
                *won_n += won;
                *lost_n += lost;
            }
        }
        Ok(())
    }

    fn at(&mut self, pipeline: i64, stage: i64) -> &mut Held {
        self.held.entry((pipeline, stage)).or_default()
    }

    fn add_levels(&mut self, rows: &StateView<'_>) -> Result<(), Error> {
        let columns: [(&str, Pick<i64>); 8] = [
            ("held_n", |held| &mut held.n),
            ("held_amount", |held| &mut held.amount),
            ("known_n", |held| &mut held.known_n),
            ("given_n", |held| &mut held.given_n),
            ("given_amount", |held| &mut held.given_amount),
            ("rest_amount", |held| &mut held.rest_amount),
            ("late_n", |held| &mut held.late_n),
            ("late_amount", |held| &mut held.late_amount),
        ];
        let (pipelines, stages) = (rows.key("pipeline")?, rows.key("stage")?);
        for (name, pick) in columns {
            let at = pipelines.iter().zip(stages);
            for ((pipeline, stage), more) in at.zip(rows.value(name)?) {
                let sum = pick(self.at(*pipeline, *stage));
                // A sum that does not fit is refused as an amount, not wrapped.
                *sum = sum.saturating_add(*more);
            }
        }
        Ok(())
    }

    fn add_days(
        &mut self,
        rows: &StateView<'_>,
        key: &str,
        pick: Pick<BTreeMap<i64, i64>>,
    ) -> Result<(), Error> {
        let at = rows.key("pipeline")?.iter().zip(rows.key("stage")?);
        let days = rows.key(key)?.iter().zip(rows.value("held_n")?);
        for ((pipeline, stage), (day, more)) in at.zip(days) {
            let counts = pick(self.at(*pipeline, *stage));
            let n = counts.get(day).copied().unwrap_or(0) + more;
            match n {
                0 => counts.remove(day),
                n => counts.insert(*day, n),
            };
        }
        Ok(())
    }

    /// How many of the closed deals that had visited a stage were won, and how many there were.
    fn history(&self, at: At, order: i64, open_stages: &[String]) -> [i64; 2] {
        let bit = u32::try_from(order - 1).ok().filter(|bit| (*bit as usize) < open_stages.len());
        let Some(bit) = bit else { return [0, 0] };
        let visited = |((pipeline, touched), _): &(&At, &[i64; 2])| {
            *pipeline == at.0 && touched >> bit & 1 == 1
        };
        let own = self.closed.iter().filter(visited);
        own.fold([0, 0], |[won, all], (_, [w, l])| [won + w, all + w + l])
    }
}

/// One row of the table.
struct Row<'r> {
    group: &'r Group<'r>,
    start: Day,
    held: &'r Held,
    history: [i64; 2],
    limits: Option<&'r [Option<f64>; 2]>,
}

impl Row<'_> {
    /// Ages in days, ascending, and how many deals are of each.
    fn ages(&self, since: &BTreeMap<i64, i64>) -> (Vec<i64>, Vec<i64>) {
        let last = i64::from(last_day(self.group, self.start));
        let known = since.iter().rev().filter(|(day, _)| **day != NO_KEY);
        known.map(|(day, n)| (last - day, n)).unzip()
    }

    /// Given chances, and the history's for the rest, which is rounded half away from zero.
    fn weighted(&self) -> Option<i64> {
        let (held, [won, all]) = (self.held, self.history);
        if held.given_n == held.n {
            return Some(held.given_amount);
        }
        if all <= 0 {
            return None;
        }
        let exact = i128::from(held.rest_amount) * i128::from(won) * 2;
        let rounded = (exact.abs() + i128::from(all)) / (2 * i128::from(all)) * exact.signum();
        held.given_amount.checked_add(i64::try_from(rounded).ok()?)
    }

    fn values(&self) -> [(&'static str, Value<'static>); 23] {
        let (held, [won, all]) = (self.held, self.history);
        let (ages, counts) = self.ages(&held.entered);
        let in_stage = Counted::of(&ages, &counts, 0..ages.len());
        let (deal_ages, deal_counts) = self.ages(&held.created);
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
        let settings = self.group.settings;
        [
            ("open_n", Value::Int(held.n)),
            ("open_amount", Value::Money(held.amount)),
            ("unknown_amount_n", Value::Int(held.n - held.known_n)),
            ("weighted_amount", Value::money(self.weighted())),
            ("given_chance_n", Value::Int(held.given_n)),
            ("history_win_rate", Value::float(ratio(won, all))),
            ("history_closed_n", Value::Int(all)),
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
            ("overdue_n", Value::Int(held.late_n)),
            ("overdue_amount", Value::Money(held.late_amount)),
            ("is_complete_period", Value::Bool(is_complete(self.group, self.start))),
            ("low_n", Value::Bool(held.n < settings.quantile_floor)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{FIXTURE_STAGES, check, eight_deals_fixture, run, settings};
    use crate::relations::fixture::Fixture;
    use crate::table::Table;
    use crate::time::Period;

    /// As of 15 March 1970. At the end of January: one deal in L since the 11th, one in Q since the
    /// 21st. In February the second is closed and the first goes to Q on the 10th of February (day
    /// 40). Four closed deals in February: three had visited Q, of which one was won.
    fn months() -> Table {
        let mut fixture = Fixture::new(&["L", "Q", "Won", "Lost"])
            .relation(Relation::OpenDeals)
            .relation(Relation::Deals)
            .relation(Relation::Visits);
        let changes = [
            "period_start=0 stage=L stage_entered_on=10 created_on=10 open_n=1 amount=5000 \
             amounts_n=1 unweighted_amount=5000",
            "period_start=0 stage=Q stage_entered_on=20 created_on=5 open_n=1",
            "period_start=31 stage=Q stage_entered_on=20 created_on=5 open_n=-1",
            "period_start=31 stage=L stage_entered_on=10 created_on=10 open_n=-1 amount=-5000 \
             amounts_n=-1 unweighted_amount=-5000",
            "period_start=31 stage=Q stage_entered_on=40 created_on=10 open_n=1 amount=9000 \
             amounts_n=1 unweighted_amount=9000 overdue_n=1 overdue_amount=9000",
        ];
        for line in changes {
            let line = format!("grain=month pipeline=default {line}");
            fixture = fixture.line(Relation::OpenDeals, &line);
        }
        for (touched, outcome) in [(1, "lost"), (3, "lost"), (3, "won"), (2, "lost")] {
            let line = format!(
                "closed_period=31 pipeline=default touched_stages={touched} is_{outcome}=1"
            );
            fixture = fixture.line(Relation::Deals, &line);
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
    fn snapshot_is_all_changes_up_to_it() {
        let table = months();
        let at = ["period=month"];
        check(&table, &at, "stage", "L Q Q Q");
        check(&table, &at, "stage_order", "1 2 2 2");
        check(&table, &at, "open_n", "1 1 1 1");
        check(&table, &at, "open_amount", "50.00 0.00 90.00 90.00");
        check(&table, &at, "unknown_amount_n", "0 1 0 0");
        check(&table, &at, "overdue_n", "0 0 1 1");
        check(&table, &at, "is_complete_period", "true true true false");
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
    fn chances_that_are_not_given_are_those_of_the_deals_closed_by_then() {
        let table = months();
        // Three closed deals had visited Q, one was won; in January none was closed.
        check(&table, &["stage=Q"], "history_closed_n", "0 3 3");
        check(&table, &["stage=Q"], "history_win_rate", "- 0.3333333333333333 0.3333333333333333");
        check(&table, &["stage=Q"], "weighted_amount", "- 30.00 30.00");
        check(&table, &["stage=L"], "weighted_amount", "-");
    }

    #[test]
    fn eight_deals_worked_by_hand_leave_two_open() {
        // As of day 20: D7 in L since 0, D4 in Q since 3. Of the closed deals D1 D2 D8 (won) and D3 D5
        // (lost) had visited L, D1 D8 (won) and D3 D6 (lost) Q. Visits to Q took 3 3 2 1 0 and 17+:
        // Kaplan–Meier 5/6 4/6 3/6 1/6, so 75 % have left by 3; those to L 2 3 1 3 7 0 and 20+:
        // 6/7 5/7 4/7 2/7 1/7, so 75 % by 7.
        let relations = eight_deals_fixture()
            .line(
                Relation::OpenDeals,
                "grain=month period_start=0 stage=L stage_entered_on=0 created_on=0 open_n=1 \
                 amount=200 amounts_n=1 unweighted_amount=200",
            )
            .line(
                Relation::OpenDeals,
                "grain=month period_start=0 stage=Q stage_entered_on=3 created_on=0 open_n=1 \
                 amount=200 amounts_n=1 unweighted_amount=200",
            )
            .build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&FIXTURE_STAGES, 20));
        check(&table, &[], "stage", "L Q");
        check(&table, &[], "stage_age_days_mean", "20.0 17.0");
        check(&table, &[], "history_win_rate", "0.6 0.5");
        check(&table, &[], "weighted_amount", "1.20 1.00");
        check(&table, &[], "stale_days_p75", "7.0 3.0");
        check(&table, &[], "stale_p75_n", "1 1");
    }

    #[test]
    fn given_chances_go_before_history() {
        let line = "grain=month pipeline=default period_start=0 stage=L open_n=2 amount=300 \
                    amounts_n=2 weighted_n=2 weighted_amount=75 created_on=0 stage_entered_on=0";
        let relations = Fixture::new(&["L", "Won", "Lost"])
            .relation(Relation::Deals)
            .relation(Relation::Visits)
            .line(Relation::OpenDeals, line)
            .build();
        let table = run(&METRIC, &relations, &[Period::Month], &settings(&["L"], 20));
        check(&table, &["stage=L"], "weighted_amount", "0.75");
        check(&table, &["stage=L"], "given_chance_n", "2");
    }
}
