//! What is to be expected of each open deal: by when it is won with what probability, and what that is
//! worth.
//!
//! A deal is judged by those that entered its stage before it and were there for about as long, and
//! open for as long, as it is; what its owner or its expected close date say does not count.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::curves::{CURVES, Curves, Judged, place};
use super::deal_text;
use crate::error::Error;
use crate::metrics::{
    Absent, Group, Identity, Metric, NO_KEY, Rows, Settings, State, StateView, View,
};
use crate::relations::Relation;
use crate::relations::visits::PSEUDO_STAGES;
use crate::table::{ColumnSpec, Value};
use crate::time::{Day, NO_DAY, Period};

/// Definition: with F the incidences of a win and of a loss after entries to the deal's stage, S what
/// is left of either, and a the days the deal has been in it, `p_won_90d = (F_won(a + 90) − F_won(a)) /
/// S(a)`, and so on; `p_won` and `p_lost` are those of all time. `expected_amount = p_won × amount`.
/// The entries are those to its stage by deals of its segment that stayed there to the same landmark
/// as the deal has (1, 3, 7, 14, 21, 30, 45, 60, 90, 120, 180, 270, 365 or 730 days), because those that
/// had gone on by then were likelier to be won; where fewer than
/// `[forecast] entries_floor` of them were followed for longer than a, those to its stage, then those
/// to any stage of its pipeline, then all.
///
/// Edge cases: what was not seen to happen so late does not happen, so that chances are too low where
/// the history is shorter than the cycles; null where no entry at all was followed longer. Deals that
/// are in no stage have no chances. A deal that came back to its stage is judged by its last entry.
///
/// Source: Aalen and Johansen, 1978, An Empirical Transition Matrix for Non-homogeneous Markov Chains
/// Based on Censored Observations; van Houwelingen, 2007, Dynamic Prediction by Landmarking in Event
/// History Analysis.
pub static METRIC: Metric = Metric {
    name: "forecast_deals",
    question: "Which open deals will be won, and when?",
    grain: "one row per open deal",
    states: &[OPEN_DEALS, CURVES],
    output: OUTPUT,
    view: View::Table,
    references: &[
        "Aalen and Johansen, 1978, An Empirical Transition Matrix for Non-homogeneous Markov \
         Chains Based on Censored Observations",
        "van Houwelingen, 2007, Dynamic Prediction by Landmarking in Event History Analysis",
    ],
    finish,
    identities: IDENTITIES,
};

/// The open deals.
pub(super) const OPEN_DEALS: State = State {
    relation: Relation::OpenDeals,
    sql: "SELECT id_high, id_low, stage, forecast_segment, deal_owner, created_on, entered_on, \
          expected_close_on, SUM(amount) AS open_amount, SUM(has_amount) AS open_amount_n \
          FROM open_deals GROUP BY id_high, id_low, stage, forecast_segment, deal_owner, \
          created_on, entered_on, expected_close_on",
    absent: Absent::SkipTable,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("deal_id", "The deal's identifier in the inputs.").key(),
    ColumnSpec::text("deal_pipeline", "The pipeline it is in; null if it is in no stage.")
        .nullable(),
    ColumnSpec::text("deal_stage", "The stage it is in; null if it is in none.").nullable(),
    ColumnSpec::text("deal_owner", "Its latest owner; null if unknown.").nullable(),
    ColumnSpec::text(
        "forecast_segment",
        "Its value of the dimension [forecast] segment; null without one.",
    )
    .nullable(),
    ColumnSpec::date("created_on", "Day of its creation; null if unknown.").nullable(),
    ColumnSpec::date("entered_on", "Day on which it came to its stage; null if in none.")
        .nullable(),
    ColumnSpec::count("age_days", "days", "Days in its stage; null if in none.").nullable(),
    ColumnSpec::money("amount", "Its amount; null if unknown.").nullable(),
    ColumnSpec::date("expected_close_on", "Its close date field; null if unknown.").nullable(),
    ColumnSpec::flag("is_overdue", "Its close date field is past."),
    ColumnSpec::text(
        "forecast_level",
        "Whose entries judge it: segment (of its stage), stage, pipeline or all; null if none do.",
    )
    .nullable(),
    ColumnSpec::count(
        "entries_n",
        "entries",
        "Those of them that were followed for longer than it.",
    ),
    ColumnSpec::flag("low_n", "They are fewer than [forecast] entries_floor."),
    ColumnSpec::rate("p_won_30d", "Probability that it is won within 30 days."),
    ColumnSpec::rate("p_won_90d", "The same within 90 days."),
    ColumnSpec::rate("p_won_180d", "The same within 180 days."),
    ColumnSpec::rate("p_won_365d", "The same within 365 days."),
    ColumnSpec::rate("p_won", "Probability that it is won, as far as the history reaches."),
    ColumnSpec::rate("p_lost", "Probability that it is lost, as far as the history reaches."),
    ColumnSpec::money("expected_amount", "p_won × amount; null if either is.").nullable(),
    ColumnSpec::money("expected_amount_90d", "p_won_90d × amount; null if either is.").nullable(),
    ColumnSpec::date("won_on_p25", "If it is won, so by then with 25 %; null if it will not be.")
        .nullable(),
    ColumnSpec::date("won_on_p50", "The same with 50 %.").nullable(),
    ColumnSpec::date("won_on_p75", "The same with 75 %.").nullable(),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "p_won_30d ≤ p_won_90d ≤ p_won_180d ≤ p_won_365d ≤ p_won",
        holds: |row| {
            let all = ["p_won_30d", "p_won_90d", "p_won_180d", "p_won_365d", "p_won"];
            all.map(|name| row.float(name)).is_sorted()
        },
    },
    Identity {
        claim: "0 ≤ p_won, 0 ≤ p_lost, p_won + p_lost ≤ 1",
        holds: |row| match (row.float("p_won"), row.float("p_lost")) {
            (Some(won), Some(lost)) => won >= 0.0 && lost >= 0.0 && won + lost <= 1.0 + 2e-6,
            (won, lost) => won.is_none() && lost.is_none(),
        },
    },
    Identity {
        claim: "won_on_p25 ≤ won_on_p50 ≤ won_on_p75",
        holds: |row| {
            ["won_on_p25", "won_on_p50", "won_on_p75"].map(|name| row.date(name)).is_sorted()
        },
    },
];

/// An open deal as the relation tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenDeal {
    pub(super) id: (i64, i64),
    pub(super) stage: i64,
    pub(super) segment: i64,
    pub(super) owner: i64,
    pub(super) created: i64,
    pub(super) entered: i64,
    pub(super) expected_close: i64,
    /// Minor units, where it is known.
    pub(super) amount: Option<i64>,
}

impl OpenDeal {
    /// Reads the state of [`OPEN_DEALS`].
    pub(super) fn read(state: &StateView<'_>) -> Result<Vec<Self>, Error> {
        let (high, low) = (state.key("id_high")?, state.key("id_low")?);
        let (stage, segment) = (state.key("stage")?, state.key("forecast_segment")?);
        let (owner, created) = (state.key("deal_owner")?, state.key("created_on")?);
        let (entered, close) = (state.key("entered_on")?, state.key("expected_close_on")?);
        let (amount, known) = (state.value("open_amount")?, state.value("open_amount_n")?);
        let deal = |row: usize| {
            let at = |column: &[i64]| column.get(row).copied().unwrap_or(NO_KEY);
            Self {
                id: (at(high), at(low)),
                stage: at(stage),
                segment: at(segment),
                owner: at(owner),
                created: at(created),
                entered: at(entered),
                expected_close: at(close),
                amount: Some(at(amount)).filter(|_| at(known) > 0),
            }
        };
        Ok((0..state.rows()).map(deal).collect())
    }

    /// Days in its stage.
    pub(super) fn age(&self, today: Day) -> Option<i64> {
        let is_there = self.entered != NO_KEY && self.is_in_stage();
        is_there.then(|| (i64::from(today) - self.entered).max(0))
    }

    /// Whether it is in a stage.
    pub(super) fn is_in_stage(&self) -> bool {
        // The codes of the stages begin with those that stand for none.
        self.stage >= PSEUDO_STAGES.len() as i64
    }
}

/// A day of a key, where there is one.
pub(super) fn day(key: i64) -> Value<'static> {
    let day = Day::try_from(key).ok().filter(|day| *day != NO_DAY);
    day.map_or(Value::Null, Value::Date)
}

/// What a curve says of all deals of a stage, a segment and an age.
#[derive(Debug, Clone, Copy)]
struct Chances {
    level: &'static str,
    entries_n: i64,
    low_n: bool,
    within: [f64; 4],
    won: f64,
    lost: f64,
    won_in: [Option<i64>; 3],
}

/// The fixed horizons.
const HORIZONS: [i64; 4] = [30, 90, 180, 365];

impl Chances {
    fn of(judged: &Judged<'_>) -> Self {
        let outlook = &judged.outlook;
        let [won, lost] = outlook.eventually();
        Self {
            level: judged.level.name(),
            entries_n: outlook.followed_n,
            low_n: judged.low_n,
            within: HORIZONS.map(|days| {
                let [won, _] = outlook.within(days);
                won
            }),
            won,
            lost,
            won_in: [0.25, 0.5, 0.75].map(|p| outlook.days_to_first(p)),
        }
    }
}

/// What deals that have the same chances share: stage, segment, and days in the stage.
pub(super) type Alike = (i64, i64, Option<i64>);

/// That of a deal.
pub(super) fn alike(deal: &OpenDeal, today: Day) -> Alike {
    (deal.stage, deal.segment, deal.age(today))
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [open, curves] = group.states else {
        return Err(Error::Bug("open deals have two states".into()));
    };
    if group.period != Period::All || open.rows() == 0 {
        return Ok(());
    }
    let settings = group.settings;
    let today = settings.calendar.day(settings.as_of);
    let deals = OpenDeal::read(open)?;
    let curves = Curves::read(curves, settings)?;
    let mut kinds: Vec<Alike> = deals.iter().map(|deal| alike(deal, today)).collect();
    kinds.par_sort_unstable();
    kinds.dedup();
    let chances: BTreeMap<Alike, Option<Chances>> = kinds
        .into_par_iter()
        .map(|(stage, segment, age)| {
            let judged = age.and_then(|age| curves.judge((stage, segment), age, settings));
            ((stage, segment, age), judged.map(|judged| Chances::of(&judged)))
        })
        .collect();
    let name = |deal: &OpenDeal| deal_text(deal.id.0, deal.id.1, &settings.dictionaries);
    let mut named: Vec<(String, &OpenDeal)> =
        deals.par_iter().map(|deal| (name(deal), deal)).collect();
    named.par_sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    for (name, deal) in named {
        let own = chances.get(&alike(deal, today)).copied().flatten();
        push(rows, &name, deal, own, settings)?;
    }
    Ok(())
}

/// Six decimals: more than any history tells.
fn share(value: f64) -> Value<'static> {
    Value::Float((value * 1e6).round_ties_even() / 1e6)
}

fn push(
    rows: &mut Rows<'_>,
    name: &str,
    deal: &OpenDeal,
    chances: Option<Chances>,
    settings: &Settings,
) -> Result<(), Error> {
    let today = settings.calendar.day(settings.as_of);
    let named = |dictionary: &str, code: i64| {
        settings.dictionaries.name(dictionary, code).map_or(Value::Null, Value::Text)
    };
    let (pipeline, stage) = match deal.is_in_stage() {
        true => {
            let (pipeline, stage) = place(deal.stage, settings);
            (Value::Text(pipeline), Value::Text(stage))
        }
        false => (Value::Null, Value::Null),
    };
    let level = chances.as_ref().map_or(Value::Null, |c| Value::Text(c.level));
    let is_overdue = deal.expected_close != NO_KEY && deal.expected_close < i64::from(today);
    let p = |of: fn(&Chances) -> f64| chances.as_ref().map_or(Value::Null, |c| share(of(c)));
    let expected = |of: fn(&Chances) -> f64| {
        let amount = chances.as_ref().zip(deal.amount);
        let minor = amount.map(|(c, amount)| (of(c) * amount as f64).round_ties_even() as i64);
        Value::money(minor)
    };
    let won_on = |of: fn(&Chances) -> Option<i64>| {
        let in_days = chances.as_ref().and_then(of);
        in_days.map_or(Value::Null, |days| day(i64::from(today) + days))
    };
    rows.push(
        NO_DAY,
        &[
            ("deal_id", Value::Text(name)),
            ("deal_pipeline", pipeline),
            ("deal_stage", stage),
            ("deal_owner", named("owner", deal.owner)),
            ("forecast_segment", named("forecast_segment", deal.segment)),
            ("created_on", day(deal.created)),
            ("entered_on", day(deal.entered)),
            ("age_days", Value::int(deal.age(today))),
            ("amount", Value::money(deal.amount)),
            ("expected_close_on", day(deal.expected_close)),
            ("is_overdue", Value::Bool(is_overdue)),
            ("forecast_level", level),
            ("entries_n", Value::Int(chances.as_ref().map_or(0, |c| c.entries_n))),
            ("low_n", Value::Bool(chances.as_ref().is_none_or(|c| c.low_n))),
            ("p_won_30d", p(|c| c.within[0])),
            ("p_won_90d", p(|c| c.within[1])),
            ("p_won_180d", p(|c| c.within[2])),
            ("p_won_365d", p(|c| c.within[3])),
            ("p_won", p(|c| c.won)),
            ("p_lost", p(|c| c.lost)),
            ("expected_amount", expected(|c| c.won)),
            ("expected_amount_90d", expected(|c| c.within[1])),
            ("won_on_p25", won_on(|c| c.won_in[0])),
            ("won_on_p50", won_on(|c| c.won_in[1])),
            ("won_on_p75", won_on(|c| c.won_in[2])),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, finish as table, settings, state};
    use crate::relations::stage_entries::stay_band;

    const OPEN_KEYS: [&str; 8] = [
        "id_high",
        "id_low",
        "stage",
        "forecast_segment",
        "deal_owner",
        "created_on",
        "entered_on",
        "expected_close_on",
    ];
    const CURVE_KEYS: [&str; 5] =
        ["stage", "forecast_segment", "stay_band", "follow_days", "ending"];

    /// Codes of the two stages behind those that stand for none.
    const L: i64 = 4;
    const Q: i64 = 5;
    /// An ending that is none yet.
    const OPEN: i64 = 0;
    const LOST: i64 = 2;
    const WON: i64 = 1;

    /// Deals as of day 100: identifier, stage, segment, day of entry, amount.
    fn judged(deals: &[[i64; 5]], entries: &[[i64; 5]]) -> crate::table::Table {
        let open: Vec<Vec<i64>> = deals
            .iter()
            .map(|[id, stage, segment, entered, amount]| {
                vec![1, *id, *stage, *segment, NO_KEY, 0, *entered, NO_KEY, *amount, 1]
            })
            .collect();
        let open: Vec<&[i64]> = open.iter().map(Vec::as_slice).collect();
        // All stayed where they were until they ended.
        let banded = |[stage, segment, days, ending, n]: &[i64; 5]| {
            vec![*stage, *segment, stay_band(*days) as i64, *days, *ending, *n]
        };
        let entries: Vec<Vec<i64>> = entries.iter().map(banded).collect();
        let entries: Vec<&[i64]> = entries.iter().map(Vec::as_slice).collect();
        let states = [
            state(&OPEN_KEYS, &["open_amount", "open_amount_n"], &open),
            state(&CURVE_KEYS, &["entry_n"], &entries),
        ];
        let mut settings = settings(&["L", "Q"], 100);
        settings.forecast.entries_floor = 5;
        table(&METRIC, &states, Period::All, &settings).unwrap()
    }

    #[test]
    fn the_narrowest_group_that_is_large_enough_judges() {
        // Entries to L: of segment 0 six, of which three are won after 20 days and three lost after
        // 40; of segment 1 two, lost after 40. To Q: four, won after 50.
        let entries =
            [[L, 0, 20, WON, 3], [L, 0, 40, LOST, 3], [L, 1, 40, LOST, 2], [Q, 0, 50, WON, 4]];
        let table = judged(
            &[
                // Six of its own segment: half are won.
                [1, L, 0, 95, 1_000],
                // Two of its segment, eight of its stage: 3/8 are won.
                [2, L, 1, 95, 1_000],
                // Four of its stage, twelve of its pipeline: (3 + 4)/12.
                [3, Q, 0, 95, 1_000],
                // At 30 days three, then five of L are left, then nine of the pipeline.
                [4, L, 0, 70, 1_000],
                // At 45 days only four of any stage, all of which are won.
                [5, L, 0, 55, 1_000],
                // At 50 days nobody.
                [6, L, 0, 50, 1_000],
            ],
            &entries,
        );
        check(&table, &[], "deal_id", "1 2 3 4 5 6");
        check(&table, &[], "forecast_level", "segment stage pipeline stage all -");
        check(&table, &[], "entries_n", "6 8 12 5 4 0");
        check(&table, &[], "low_n", "false false false false true true");
        check(&table, &[], "p_won", "0.5 0.375 0.583333 0.0 1.0 -");
        check(&table, &[], "p_lost", "0.5 0.625 0.416667 1.0 0.0 -");
        check(&table, &[], "p_won_30d", "0.5 0.375 0.25 0.0 1.0 -");
        check(&table, &[], "expected_amount", "5.00 3.75 5.83 0.00 10.00 -");
        // Three of seven wins of the pipeline come after 20 days, the others after 50.
        let days = |d: i64| crate::time::day_text(100 + d as i32);
        let expected = [days(15), days(15), days(15), "-".into(), days(5), "-".into()];
        check(&table, &[], "won_on_p25", &expected.join(" "));
        let expected = [days(15), days(15), days(45), "-".into(), days(5), "-".into()];
        check(&table, &[], "won_on_p50", &expected.join(" "));
    }

    #[test]
    fn deals_still_open_count_for_as_long_as_they_were_seen() {
        // Six entries: two won after 10 days, four seen for 10 days only. At 10 days nobody is left.
        let entries = [[L, NO_KEY, 10, WON, 2], [L, NO_KEY, 10, OPEN, 4]];
        let table = judged(&[[1, L, NO_KEY, 100, 300], [2, L, NO_KEY, 90, 300]], &entries);
        check(&table, &[], "forecast_level", "stage -");
        check(&table, &[], "p_won", "0.333333 -");
        check(&table, &[], "age_days", "0 10");
        check(&table, &[], "expected_amount", "1.00 -");
    }

    #[test]
    fn those_that_have_gone_on_do_not_judge_one_who_stays() {
        // Eight go on after a day and are won on day 20; eight stay for 60 days and are lost then.
        // Of one who has been there for 7 days the former say nothing, though they were open then.
        let quick = [L, NO_KEY, stay_band(1) as i64, 20, WON, 8];
        let slow = [L, NO_KEY, stay_band(60) as i64, 60, LOST, 8];
        let open = [1, 1, L, NO_KEY, NO_KEY, 0, 93, NO_KEY, 300, 1];
        let states = [
            state(&OPEN_KEYS, &["open_amount", "open_amount_n"], &[&open]),
            state(&CURVE_KEYS, &["entry_n"], &[&quick, &slow]),
        ];
        let mut settings = settings(&["L", "Q"], 100);
        settings.forecast.entries_floor = 5;
        let table = table(&METRIC, &states, Period::All, &settings).unwrap();
        check(&table, &[], "entries_n", "8");
        check(&table, &[], "p_won", "0.0");
        check(&table, &[], "p_lost", "1.0");
    }
}
