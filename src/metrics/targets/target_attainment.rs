//! `target_attainment`: how far everybody, each team and each owner came towards a target, and
//! whether that is far enough by now.
//!
//! What is counted is what `revenue_credit` credits: won deals by the day of the close that holds at
//! `as_of`, with the owner and the owner's team at that close, shared deals by their shares. It does
//! not forecast, and knows no target of anything but won amounts; others are for `[kpi]`.
//!
//! Invariant: `target_contributions` adds up to every attained amount.

use super::credited::{ByWhose, Daily};
use super::plans::{self, Counted, Planned, Target, target_columns};
use crate::error::Error;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, Settings, State, StateView, View};
use crate::money::mean;
use crate::relations::Relation;
use crate::stats::{float, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::{Calendar, Day, NO_DAY, Period};

/// Definition: attainment = attained_amount / target_amount; gap = target − attained; pace =
/// attainment / the share that is expected by now, by working days or by the close curve. The close
/// curve is what share of all that was won in up to eight earlier spans of the same length had been
/// won after the same share of their days. Coverage = open amount with an expected close in the span
/// / gap.
///
/// Edge cases: a target that is unknown, zero or less has no attainment; a gap of zero or less, and a span
/// that is over, have no coverage; before the first working day, or without a full earlier span, there is no pace.
pub static METRIC: Metric = Metric {
    name: "target_attainment",
    question: "How much of each target is reached, and is that on pace?",
    grain: "one row per thing counted, everybody, team or owner, and span of a target",
    states: &[
        State { relation: Relation::Targets, sql: plans::SQL, absent: Absent::SkipTable },
        State { relation: Relation::Credits, sql: CREDITS, absent: Absent::SkipTable },
        State {
            relation: Relation::Deals,
            sql: "SELECT expected_close_on, owner AS open_owner, team_of_owner AS open_team, \
                  probability_ppm, has_probability, COUNT(*) AS open_n, \
                  SUM(amount) AS open_amount FROM deals \
                  WHERE is_open = 1 AND expected_close_on IS NOT NULL \
                  GROUP BY expected_close_on, open_owner, open_team, probability_ppm, \
                  has_probability",
            absent: Absent::SkipTable,
        },
    ],
    output: OUTPUT,
    view: View::Bars("attainment"),
    references: &[
        "Farris, Bendle, Pfeifer and Reibstein, 2010, Marketing Metrics (sales force targets)",
        "Zoltners, Sinha and Lorimer, 2006, The Complete Guide to Sales Force Incentive Compensation",
    ],
    finish,
    identities: IDENTITIES,
};

/// What is credited to whom, by day.
pub(super) const CREDITS: &str = "SELECT credited_on, credited_owner, credited_team, COUNT(*) AS won_n, \
     SUM(amount) AS net_amount, SUM(CASE WHEN amount > 0 THEN amount ELSE 0 END) AS gross_amount \
     FROM credits GROUP BY credited_on, credited_owner, credited_team";

const OUTPUT: &[ColumnSpec] = target_columns![
    ColumnSpec::text(
        "target_source",
        "row: a row of the targets input; members: the sum of those of the team's owners, or for \
         everybody of all owners, or of all teams where no owner has one.",
    ),
    ColumnSpec::money("target_amount", "What is to be reached; null without an exchange rate.")
        .nullable(),
    ColumnSpec::money(
        "members_target_amount",
        "What the members are to reach together, whatever the target's own row says; null without \
         targets of members.",
    )
    .nullable(),
    ColumnSpec::money(
        "attained_amount",
        "Credited amounts of deals won in the span; null where target_metric is neither \
         net_won_amount nor gross_won_amount.",
    )
    .nullable(),
    ColumnSpec::count(
        "credits_n",
        "credits",
        "Credits for won deals of the span; a deal that two share has two.",
    ),
    ColumnSpec::number(
        "attainment",
        "share",
        "attained_amount / target_amount; below zero where refunds outweigh, above 1 where the \
         target is passed; null where either is unknown or the target is zero or less.",
    )
    .nullable(),
    ColumnSpec::money("gap_amount", "target_amount − attained_amount; null where either is.")
        .nullable(),
    ColumnSpec::count("workdays_n", "days", "Working days of the span."),
    ColumnSpec::count("elapsed_workdays_n", "days", "Those of them up to the as_of day."),
    ColumnSpec::rate("expected_share_workdays", "elapsed_workdays_n / workdays_n."),
    ColumnSpec::number(
        "pace_workdays",
        "ratio",
        "attainment / expected_share_workdays: 1 is on pace; null before the first working day.",
    )
    .nullable(),
    ColumnSpec::rate(
        "expected_share_curve",
        "What share of all that was won in earlier spans had been won by the same share of their \
         days; null without a full earlier span, or where nothing was won.",
    ),
    ColumnSpec::count("curve_spans_n", "spans", "Earlier spans that it rests on, at most 8."),
    ColumnSpec::count("curve_credits_n", "credits", "Credits for won deals in them."),
    ColumnSpec::flag("curve_low_n", "These are fewer than the floor of rates."),
    ColumnSpec::number("pace_curve", "ratio", "attainment / expected_share_curve; null likewise.")
        .nullable(),
    ColumnSpec::money(
        "gap_per_workday_amount",
        "gap_amount / the working days that are left; null where the gap or no day is left.",
    )
    .nullable(),
    ColumnSpec::count(
        "open_n",
        "deals",
        "Deals open at as_of with an expected close in the span, of the latest owners.",
    ),
    ColumnSpec::money("open_amount", "Their amounts."),
    ColumnSpec::count("open_chance_n", "deals", "Of open_n, those with a known chance of winning."),
    ColumnSpec::money(
        "open_expected_amount",
        "Their amounts times their chances, half to even; the others count as zero.",
    ),
    ColumnSpec::number(
        "coverage",
        "ratio",
        "open_amount / gap_amount; null where the gap is zero or less or unknown, or the span is \
         over.",
    )
    .nullable(),
    ColumnSpec::number(
        "coverage_expected",
        "ratio",
        "open_expected_amount / gap_amount; null likewise, and without any known chance.",
    )
    .nullable(),
    ColumnSpec::text(
        "status",
        "reached; missed: over and not reached; on_pace or behind by working days; to_come: no \
         working day is over; unknown: without an attainment.",
    ),
    ColumnSpec::flag("is_nonpositive_target", "The target is zero or less."),
    ColumnSpec::flag("is_over", "The span has ended by as_of."),
    ColumnSpec::flag(
        "is_counted_metric",
        "target_metric is one that this table counts; others are of [kpi].",
    ),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "gap_amount = target_amount − attained_amount",
        holds: |row| {
            let parts = row.money("target_amount").zip(row.money("attained_amount"));
            row.money("gap_amount") == parts.map(|(target, attained)| target - attained)
        },
    },
    Identity {
        claim: "there is an attainment where both amounts are known and the target is above zero",
        holds: |row| {
            let is_known = row.money("target_amount").is_some_and(|target| target > 0)
                && row.money("attained_amount").is_some();
            row.float("attainment").is_some() == is_known
        },
    },
    Identity {
        claim: "elapsed_workdays_n ≤ workdays_n and 0 ≤ expected_share_curve ≤ 1",
        holds: |row| {
            row.int("elapsed_workdays_n") <= row.int("workdays_n")
                && row.float("expected_share_curve").is_none_or(|s| (0.0..=1.0).contains(&s))
        },
    },
    Identity {
        claim: "a target of members is that of its members",
        holds: |row| {
            row.text("target_source") != Some("members")
                || row.money("target_amount") == row.money("members_target_amount")
        },
    },
    Identity {
        claim: "reached means attained_amount ≥ target_amount",
        holds: |row| {
            (row.text("status") == Some("reached"))
                == (row.float("attainment").is_some()
                    && row.money("attained_amount") >= row.money("target_amount"))
        },
    },
];

/// Net amount, gross amount, credits.
pub(super) type Credits<'a> = ByWhose<'a, 3>;

/// The credits of a state of [`CREDITS`].
///
/// # Errors
/// A bug of ours: the state has no such column.
pub(super) fn credits<'a>(
    state: &StateView<'_>,
    settings: &'a Settings,
) -> Result<Credits<'a>, Error> {
    let (net, gross) = (state.value("net_amount")?, state.value("gross_amount")?);
    let won = state.value("won_n")?;
    let of = |row: usize| [net, gross, won].map(|c| c.get(row).copied().unwrap_or(0).into());
    let keys = ["credited_on", "credited_owner", "credited_team"];
    ByWhose::new(state, keys, &settings.dictionaries, of)
}

/// What is counted towards a target; `None` where that is unknown.
pub(super) fn attained(target: &Target<'_>, [net, gross, _]: [i128; 3]) -> Option<i64> {
    let amount = match Counted::of(target.metric) {
        Counted::NetWon => net,
        Counted::GrossWon => gross,
        Counted::Unknown => return None,
    };
    i64::try_from(amount).ok()
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [targets, credited, open] = group.states else {
        return Err(Error::Bug("target_attainment has three states".into()));
    };
    if group.period != Period::All {
        return Ok(());
    }
    let settings = group.settings;
    let plans = plans::read(targets, settings)?;
    let credits = credits(credited, settings)?;
    let pipeline = pipeline(open, settings)?;
    for (target, planned) in &plans {
        let row = Row::new(target, planned, &credits, &pipeline, settings);
        row.push(target, planned, settings, rows)?;
    }
    Ok(())
}

/// Deals, amount, deals with a known chance, amount times chance in millionths of a minor unit.
type Pipeline<'a> = ByWhose<'a, 4>;

fn pipeline<'a>(state: &StateView<'_>, settings: &'a Settings) -> Result<Pipeline<'a>, Error> {
    let (n, amount) = (state.value("open_n")?, state.value("open_amount")?);
    let (ppm, has) = (state.key("probability_ppm")?, state.key("has_probability")?);
    let of = |row: usize| {
        let at = |column: &[i64]| i128::from(column.get(row).copied().unwrap_or(0));
        let is_known = i128::from(at(has) == 1);
        [at(n), at(amount), at(n) * is_known, at(amount) * at(ppm) * is_known]
    };
    let keys = ["expected_close_on", "open_owner", "open_team"];
    ByWhose::new(state, keys, &settings.dictionaries, of)
}

/// The numbers of a target.
struct Row {
    attained: Option<i64>,
    credits_n: i128,
    curve: Curve,
    open: [i128; 4],
    is_over: bool,
}

impl Row {
    fn new(
        target: &Target<'_>,
        planned: &Planned,
        credits: &Credits<'_>,
        pipeline: &Pipeline<'_>,
        settings: &Settings,
    ) -> Self {
        let Target { whose, from, to, .. } = *target;
        let calendar = &settings.calendar;
        let own = credits.between(whose, from, to);
        let today = calendar.day(settings.as_of);
        let share = if planned.elapsed > 0 { elapsed(from, to, today) } else { None };
        Self {
            attained: attained(target, own),
            credits_n: own[2],
            curve: share.map_or_else(Curve::default, |share| {
                Curve::new(&credits.all, Counted::of(target.metric), (from, to), share, calendar)
            }),
            open: pipeline.between(whose, from, to),
            is_over: calendar.instant(to) - 1 <= settings.as_of,
        }
    }

    fn status(&self, attainment: Option<f64>, pace: Option<f64>) -> &'static str {
        match (attainment, pace) {
            (None, _) => "unknown",
            (Some(attainment), _) if attainment >= 1.0 => "reached",
            _ if self.is_over => "missed",
            (_, None) => "to_come",
            (_, Some(pace)) if pace >= 1.0 => "on_pace",
            _ => "behind",
        }
    }

    fn push(
        &self,
        target: &Target<'_>,
        planned: &Planned,
        settings: &Settings,
        rows: &mut Rows<'_>,
    ) -> Result<(), Error> {
        let amount = planned.amount();
        let above_zero = amount.filter(|amount| *amount > 0);
        let attainment = self.attained.zip(above_zero).and_then(|(a, t)| ratio(a, t));
        let gap = amount.zip(self.attained).map(|(target, attained)| target - attained);
        let open_gap = gap.filter(|gap| *gap > 0);
        let by_days = ratio(planned.elapsed, planned.workdays);
        let over = |share: Option<f64>| {
            attainment.zip(share.filter(|share| *share > 0.0)).map(|(own, share)| own / share)
        };
        let pace = over(by_days);
        let [open_n, open_amount, chance_n, expected] = self.open;
        let (open_n, chance_n) = (int(open_n), int(chance_n));
        let (open_amount, expected) = (int(open_amount), int(half_even(expected, 1_000_000)));
        let to_cover = open_gap.filter(|_| !self.is_over);
        let cover = |amount: i64| to_cover.and_then(|gap| ratio(amount, gap));
        let left = planned.workdays - planned.elapsed;
        let curve_n = int(self.curve.credits_n);
        let mut values = target.keys().to_vec();
        values.extend([
            ("target_source", Value::Text(if planned.is_own() { "row" } else { "members" })),
            ("target_amount", Value::money(amount)),
            ("members_target_amount", Value::money(planned.members())),
            ("attained_amount", Value::money(self.attained)),
            ("credits_n", Value::Int(int(self.credits_n))),
            ("attainment", Value::float(attainment)),
            ("gap_amount", Value::money(gap)),
            ("workdays_n", Value::Int(planned.workdays)),
            ("elapsed_workdays_n", Value::Int(planned.elapsed)),
            ("expected_share_workdays", Value::float(by_days)),
            ("pace_workdays", Value::float(pace)),
            ("expected_share_curve", Value::float(self.curve.share)),
            ("curve_spans_n", Value::Int(self.curve.spans_n)),
            ("curve_credits_n", Value::Int(curve_n)),
            ("curve_low_n", Value::Bool(curve_n < settings.rate_floor)),
            ("pace_curve", Value::float(over(self.curve.share))),
            ("gap_per_workday_amount", Value::money(open_gap.and_then(|gap| mean(gap, left)))),
            ("open_n", Value::Int(open_n)),
            ("open_amount", Value::Money(open_amount)),
            ("open_chance_n", Value::Int(chance_n)),
            ("open_expected_amount", Value::Money(expected)),
            ("coverage", Value::float(cover(open_amount))),
            ("coverage_expected", Value::float(cover(expected).filter(|_| chance_n > 0))),
            ("status", Value::Text(self.status(attainment, pace))),
            ("is_nonpositive_target", Value::Bool(amount.is_some_and(|amount| amount <= 0))),
            ("is_over", Value::Bool(self.is_over)),
            ("is_counted_metric", Value::Bool(Counted::of(target.metric) != Counted::Unknown)),
        ]);
        rows.push(NO_DAY, &values)
    }
}

/// Sums of the relations fit 64 bits: their amounts are guarded where they are made.
fn int(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

/// A quotient, half to even; the divisor is above zero.
pub(super) fn half_even(value: i128, by: i128) -> i128 {
    let (whole, rest) = (value.div_euclid(by), value.rem_euclid(by));
    let is_up = rest * 2 > by || (rest * 2 == by && whole.rem_euclid(2) == 1);
    whole + i128::from(is_up)
}

/// How many days of a span are over on a day, that day among them, and how many there are; `None`
/// before the first one.
fn elapsed(from: Day, to: Day, today: Day) -> Option<(i64, i64)> {
    let days = i64::from(to) - i64::from(from);
    let over = (i64::from(today) + 1 - i64::from(from)).min(days);
    (over > 0).then_some((over, days))
}

/// What share of what earlier spans won had been won by now.
#[derive(Debug, Default, PartialEq)]
struct Curve {
    share: Option<f64>,
    spans_n: i64,
    credits_n: i128,
}

/// So many earlier spans.
const SPANS_MAX: i32 = 8;

impl Curve {
    fn new(
        all: &Daily<3>,
        counted: Counted,
        (from, to): (Day, Day),
        (over, days): (i64, i64),
        calendar: &Calendar,
    ) -> Self {
        let of = |[net, gross, _]: [i128; 3]| match counted {
            Counted::NetWon | Counted::Unknown => net,
            Counted::GrossWon => gross,
        };
        let mut curve = Self::default();
        let (mut by_then, mut whole) = (0, 0);
        for back in 1..=SPANS_MAX {
            let (begin, end) = earlier((from, to), back, calendar);
            if all.first().is_none_or(|first| begin < first) {
                break;
            }
            let length = i128::from(end) - i128::from(begin);
            let then = half_even(length * i128::from(over), i128::from(days.max(1)));
            let then = Day::try_from(i128::from(begin) + then).unwrap_or(end);
            let own = all.between(begin, end);
            by_then += of(all.between(begin, then));
            whole += of(own);
            curve.spans_n += 1;
            curve.credits_n += own[2];
        }
        if whole > 0 {
            curve.share = Some((float(int(by_then)) / float(int(whole))).clamp(0.0, 1.0));
        }
        curve
    }
}

/// The span of the same length so many spans before: of as many months where it is of whole months,
/// else of as many days.
fn earlier((from, to): (Day, Day), back: i32, calendar: &Calendar) -> (Day, Day) {
    let is_first = |day: Day| calendar.start(Period::Month, day) == day;
    if is_first(from) && is_first(to) {
        let months = calendar.distance(Period::Month, from, to);
        let shift = |day: Day| calendar.shift(Period::Month, day, -back * months);
        return (shift(from), shift(to));
    }
    let days = back * (to - from);
    (from - days, to - days)
}

#[cfg(test)]
#[path = "target_attainment/tests.rs"]
pub(super) mod tests;
