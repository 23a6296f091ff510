//! Which paths deals take, and which of them win.
//!
//! A variant is the stages of a deal's visits in order, repeats included, up to `as_of`; it says
//! nothing of time spent, which `stage_time` and `directly_follows` do.
//! Invariant: the rows of a slice count every deal with a visit once.

use crate::error::Error;
use crate::metrics::durations::mean_days;
use crate::metrics::{Absent, Group, Identity, Metric, Rows, State, StateView, View};
use crate::relations::Relation;
use crate::relations::paths::PathCode;
use crate::stats::interval::wilson;
use crate::stats::{Z_95, ratio};
use crate::table::{ColumnSpec, Value};
use crate::time::NO_DAY;

/// What stands for the variants beyond the configured number, and for those too long to be told.
const OTHER: &str = "(other)";

/// Between the stages of a path.
const ARROW: &str = " > ";

/// Definition: deals by the stages of their visits in order; outcome, amount and cycle as of the
/// run's instant. The most frequent `process.variants_max` variants have rows of their own, of
/// equally frequent ones those first by name; all others are `(other)`.
///
/// Edge cases: a deal without a visit is on no path; paths of more visits than can be told apart
/// (60 with a dozen stages) are in `(other)` as one variant; an open deal is on the path so far.
pub static METRIC: Metric = Metric {
    name: "process_variants",
    question: "Which paths do deals take, and which of them win?",
    grain: "one row per slice and variant",
    states: &[State {
        relation: Relation::Deals,
        sql: "SELECT path_1, path_2, path_3, path_4, COUNT(*) AS deals_n, SUM(is_won) AS won_n, \
              SUM(is_lost) AS lost_n, SUM(is_open) AS open_n, \
              SUM(CASE WHEN is_won = 1 THEN amount ELSE 0 END) AS won_amount, \
              SUM(CASE WHEN is_won = 1 THEN has_amount ELSE 0 END) AS won_amount_n, \
              SUM(CASE WHEN cycle_status <> 'open' AND is_negative_cycle = 0 THEN cycle ELSE 0 END) \
              AS cycle_sum, \
              SUM(CASE WHEN cycle_status <> 'open' AND is_negative_cycle = 0 THEN 1 ELSE 0 END) \
              AS cycle_n FROM deals WHERE visits_n > 0 GROUP BY path_1, path_2, path_3, path_4",
        absent: Absent::SkipTable,
    }],
    output: OUTPUT,
    view: View::Bars("deals_n"),
    references: &["van der Aalst, 2016, Process Mining: Data Science in Action (trace variants)"],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::count(
        "variant_rank",
        "place",
        "1 for the variant of the most deals; (other) last.",
    )
    .key(),
    ColumnSpec::text("variant", "The stages in order, joined by >; (other) for all further ones.")
        .key(),
    ColumnSpec::count("steps_n", "visits", "Visits on the path; null for (other).").nullable(),
    ColumnSpec::count("variants_n", "variants", "1; for (other), how many it stands for."),
    ColumnSpec::count("deals_n", "deals", "Deals on the path."),
    ColumnSpec::rate("deal_share", "deals_n as a share of all deals with a visit."),
    ColumnSpec::rate("deal_share_cumulative", "The same with all variants of a lower rank."),
    ColumnSpec::count("won_n", "deals", "Of the deals, won at as_of."),
    ColumnSpec::count("lost_n", "deals", "Of the deals, lost at as_of."),
    ColumnSpec::count("open_n", "deals", "Of the deals, open at as_of."),
    ColumnSpec::rate("win_rate", "won_n / (won_n + lost_n); null where none is closed."),
    ColumnSpec::rate("win_rate_low", "Lower Wilson 95 % limit of win_rate."),
    ColumnSpec::rate("win_rate_high", "Upper Wilson 95 % limit of win_rate."),
    ColumnSpec::money("won_amount", "Amount of the won deals; unknown amounts add nothing."),
    ColumnSpec::count("won_amount_n", "deals", "Won deals whose amount is known."),
    ColumnSpec::count("cycle_n", "deals", "Deals whose cycle has ended and has a length."),
    ColumnSpec::days("cycle_days_mean", "Their mean cycle; null for none."),
    ColumnSpec::flag("low_n", "won_n + lost_n is below the rate floor."),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "won_n + lost_n + open_n ≤ deals_n",
        holds: |row| {
            let parts = [row.int("won_n"), row.int("lost_n"), row.int("open_n")];
            parts.into_iter().sum::<Option<i64>>() <= row.int("deals_n")
        },
    },
    Identity {
        claim: "deal_share ≤ deal_share_cumulative ≤ 1",
        holds: |row| {
            row.float("deal_share") <= row.float("deal_share_cumulative")
                && row.float("deal_share_cumulative") <= Some(1.0)
        },
    },
];

/// What is known of the deals on one path, or on many.
#[derive(Debug, Clone, Default)]
struct Variant {
    path: String,
    /// Of one that can be told.
    steps_n: Option<i64>,
    variants_n: i64,
    deals_n: i64,
    won_n: i64,
    lost_n: i64,
    open_n: i64,
    won_amount: i64,
    won_amount_n: i64,
    cycle_sum: i64,
    cycle_n: i64,
}

impl Variant {
    /// Puts other deals beside these; `None` if a sum leaves 64 bits.
    fn add(&mut self, other: &Self) -> Option<()> {
        self.variants_n += other.variants_n;
        self.deals_n += other.deals_n;
        self.won_n += other.won_n;
        self.lost_n += other.lost_n;
        self.open_n += other.open_n;
        self.won_amount = self.won_amount.checked_add(other.won_amount)?;
        self.won_amount_n += other.won_amount_n;
        self.cycle_sum = self.cycle_sum.checked_add(other.cycle_sum)?;
        self.cycle_n += other.cycle_n;
        Some(())
    }
}

fn finish(group: &Group<'_>, rows: &mut Rows<'_>) -> Result<(), Error> {
    let [state] = group.states else {
        return Err(Error::Bug("the variants have one state".into()));
    };
    let settings = group.settings;
    let mut told = read(group, state)?;
    told.sort_by(|a, b| {
        let long = |v: &Variant| v.steps_n.is_none();
        (long(a), -a.deals_n, &a.path).cmp(&(long(b), -b.deals_n, &b.path))
    });
    let named = told.iter().take_while(|v| v.steps_n.is_some()).count();
    let rest = told.split_off(named.min(settings.variants_max));
    let mut other = Variant { path: OTHER.into(), ..Variant::default() };
    for variant in &rest {
        let sums = other.add(variant);
        sums.ok_or_else(|| Error::Overflow { what: "the sum of all deals' amounts".into() })?;
    }
    if other.deals_n > 0 {
        told.push(other);
    }
    let all: i64 = told.iter().map(|variant| variant.deals_n).sum();
    let mut so_far = 0;
    for (rank, variant) in (1_i64..).zip(&told) {
        so_far += variant.deals_n;
        let closed = variant.won_n + variant.lost_n;
        let limits = wilson(variant.won_n, closed, Z_95);
        let cycle = mean_days(i128::from(variant.cycle_sum), variant.cycle_n, settings.resolution);
        let values = [
            ("variant_rank", Value::Int(rank)),
            ("variant", Value::Text(&variant.path)),
            ("steps_n", Value::int(variant.steps_n)),
            ("variants_n", Value::Int(variant.variants_n)),
            ("deals_n", Value::Int(variant.deals_n)),
            ("deal_share", Value::float(ratio(variant.deals_n, all))),
            ("deal_share_cumulative", Value::float(ratio(so_far, all))),
            ("won_n", Value::Int(variant.won_n)),
            ("lost_n", Value::Int(variant.lost_n)),
            ("open_n", Value::Int(variant.open_n)),
            ("win_rate", Value::float(ratio(variant.won_n, closed))),
            ("win_rate_low", Value::float(limits.map(|l| l.0))),
            ("win_rate_high", Value::float(limits.map(|l| l.1))),
            ("won_amount", Value::Money(variant.won_amount)),
            ("won_amount_n", Value::Int(variant.won_amount_n)),
            ("cycle_n", Value::Int(variant.cycle_n)),
            ("cycle_days_mean", Value::float(cycle)),
            ("low_n", Value::Bool(closed < settings.rate_floor)),
        ];
        rows.push(NO_DAY, &values)?;
    }
    Ok(())
}

/// The variants as the state counts them.
fn read(group: &Group<'_>, state: &StateView<'_>) -> Result<Vec<Variant>, Error> {
    let dictionaries = &group.settings.dictionaries;
    let stages = dictionaries.names.get("stage").map_or(0, |names| names.len());
    let code = PathCode::new(stages);
    let words = ["path_1", "path_2", "path_3", "path_4"].map(|name| state.key(name));
    let [first, second, third, fourth] = words;
    let words = [first?, second?, third?, fourth?];
    let values = [
        "deals_n",
        "won_n",
        "lost_n",
        "open_n",
        "won_amount",
        "won_amount_n",
        "cycle_sum",
        "cycle_n",
    ];
    let values: Vec<&[i64]> = values.iter().map(|n| state.value(n)).collect::<Result<_, _>>()?;
    let mut variants = Vec::with_capacity(state.rows());
    for row in 0..state.rows() {
        let at = |column: &[i64]| column.get(row).copied().unwrap_or(0);
        let path = code.decode(words.map(at));
        let name = |stage: &i64| dictionaries.name("stage", *stage).unwrap_or_default();
        let text = |path: &Vec<i64>| path.iter().map(name).collect::<Vec<_>>().join(ARROW);
        let value = |place: usize| values.get(place).map_or(0, |column| at(column));
        variants.push(Variant {
            path: path.as_ref().map(text).unwrap_or_default(),
            steps_n: path.as_ref().and_then(|path| i64::try_from(path.len()).ok()),
            variants_n: 1,
            deals_n: value(0),
            won_n: value(1),
            lost_n: value(2),
            open_n: value(3),
            won_amount: value(4),
            won_amount_n: value(5),
            cycle_sum: value(6),
            cycle_n: value(7),
        });
    }
    Ok(variants)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::{check, finish, settings, state};
    use crate::time::Period;

    const KEYS: [&str; 4] = ["path_1", "path_2", "path_3", "path_4"];
    const VALUES: [&str; 8] = [
        "deals_n",
        "won_n",
        "lost_n",
        "open_n",
        "won_amount",
        "won_amount_n",
        "cycle_sum",
        "cycle_n",
    ];

    /// The eight hand-worked deals, each a variant of its own but for D1 and D8 (L Q P Won).
    /// Stages: START STILL DELETED HANDOFF L Q P Won Lost.
    fn eight(variants_max: usize) -> crate::table::Table {
        let settings = settings(&["L", "Q", "P"], 20);
        let settings = crate::metrics::Settings { variants_max, ..settings };
        let code = PathCode::new(9);
        let (l, q, p, won, lost) = (4, 5, 6, 7, 8);
        let row = |path: &[u32], values: [i64; 8]| {
            [&code.encode(path.iter().copied())[..], &values[..]].concat()
        };
        let rows = [
            row(&[l, q, p, won], [2, 2, 0, 0, 700, 2, 9, 2]),
            row(&[l, p, won], [1, 1, 0, 0, 100, 1, 4, 1]),
            row(&[l, q, p, q, p, lost], [1, 0, 1, 0, 0, 0, 10, 1]),
            row(&[l, q], [1, 0, 0, 1, 0, 0, 0, 0]),
            row(&[l, lost], [1, 0, 1, 0, 0, 0, 7, 1]),
            row(&[q, p, won, p, lost], [1, 0, 1, 0, 0, 0, 3, 1]),
            row(&[l], [1, 0, 0, 1, 0, 0, 0, 0]),
        ];
        let rows: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
        finish(&METRIC, &[state(&KEYS, &VALUES, &rows)], Period::All, &settings).expect("a table")
    }

    #[test]
    fn most_frequent_path_is_first_and_equals_stand_by_name() {
        let table = eight(50);
        let first = ["variant_rank=1"];
        check(&table, &first, "variant", "L > Q > P > Won");
        check(&table, &first, "deals_n", "2");
        check(&table, &first, "deal_share", "0.25");
        check(&table, &first, "win_rate", "1.0");
        check(&table, &first, "cycle_days_mean", "4.5");
        check(&table, &["variant_rank=2"], "variant", "L");
        check(&table, &[], "steps_n", "4 1 2 3 2 6 5");
        check(&table, &["variant_rank=7"], "deal_share_cumulative", "1.0");
        check(&table, &["variant_rank=2"], "win_rate", "-");
    }

    #[test]
    fn what_is_beyond_the_number_is_one_row() {
        let table = eight(2);
        check(&table, &["variant=(other)"], "variant_rank", "3");
        check(&table, &["variant=(other)"], "variants_n", "5");
        check(&table, &["variant=(other)"], "deals_n", "5");
        check(&table, &["variant=(other)"], "steps_n", "-");
        check(&table, &["variant=(other)"], "win_rate", "0.25");
    }
}
