//! `kpi_status`: whether the numbers of other tables are what they are to be.
//!
//! It has no state: its rows are made of finished tables, by what `[kpi.NAME]` asks of them, so that a
//! number is judged exactly as it is reported. It computes no number of its own.

use crate::error::Error;
use crate::metrics::{Group, Identity, Metric, Rows, View};
use crate::table::ColumnSpec;

/// Definition: gap = target − value; attainment = value / target. met: the value is at least, or at
/// most, the target; near: it is off by no more than tolerance × the target; else missed.
///
/// Edge cases: a value that is null is unknown; a target of zero has no attainment, and nothing is
/// near it.
pub static METRIC: Metric = Metric {
    name: "kpi_status",
    question: "Which numbers are what they are to be?",
    grain: "one row per KPI of the configuration and row of its table that it asks about",
    states: &[],
    output: OUTPUT,
    view: View::Table,
    references: &[],
    finish,
    identities: IDENTITIES,
};

const OUTPUT: &[ColumnSpec] = &[
    ColumnSpec::text("kpi", "Its name in the configuration, [kpi.NAME].").key(),
    ColumnSpec::text(
        "row_keys",
        "The row of the table by its other keys, as name=value parted by semicolons; empty where there \
         are none.",
    )
    .key(),
    ColumnSpec::text("table_name", "The table."),
    ColumnSpec::text("column_name", "Its column."),
    ColumnSpec::text("value_unit", "The unit of the column."),
    ColumnSpec::number("value", "of value_unit", "What stands there; null where it is null.")
        .nullable(),
    ColumnSpec::number("target", "of value_unit", "What is to be reached."),
    ColumnSpec::text("direction", "at_least: more is better; at_most: less is."),
    ColumnSpec::number("gap", "of value_unit", "target − value; null without a value.").nullable(),
    ColumnSpec::number("attainment", "share", "value / target; null without, or on zero.")
        .nullable(),
    ColumnSpec::text("status", "met, near, missed, or unknown where there is no value."),
    ColumnSpec::flag(
        "low_n",
        "The row says itself that its sample is small; false where the table has no such column.",
    ),
];

const IDENTITIES: &[Identity] = &[
    Identity {
        claim: "the status is unknown exactly where there is no value",
        holds: |row| (row.text("status") == Some("unknown")) == row.float("value").is_none(),
    },
    Identity {
        claim: "met means that value is not on the wrong side of target",
        holds: |row| {
            let (value, target) = (row.float("value"), row.float("target"));
            let is_met = match row.text("direction") {
                Some("at_most") => value <= target,
                _ => value >= target,
            };
            (row.text("status") == Some("met")) == (value.is_some() && is_met)
        },
    },
];

/// Without states there is no group to finish.
fn finish(_: &Group<'_>, _: &mut Rows<'_>) -> Result<(), Error> {
    Ok(())
}
