//! The small files beside the events: what was spent, who the owners are, a configuration that
//! runs on all of it, and the note that tells the folder is the generator's own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use serde::Serialize;

use super::dice::{Dice, Subject};
use super::files::properties;
use super::world::{COST_TYPES, REGIONS, SOURCES, World};
use super::{Form, GenerateOptions, Ids};
use crate::error::Error;
use crate::time::{Day, MICROS_PER_DAY, day_text, instant_text};

/// Name of the note.
pub(super) const NOTE: &str = "generated.json";
const MADE_BY: &str = "dealmill generate";

/// What the note says; it is also how a folder is known to be the generator's own.
#[derive(Debug, Serialize)]
pub(super) struct Note {
    pub(super) made_by: String,
    pub(super) deals: u64,
    pub(super) customers: u64,
    pub(super) events: u64,
    pub(super) ids: String,
    pub(super) seed: u64,
    pub(super) first_month: String,
    pub(super) months: usize,
}

impl Note {
    /// The note of a finished history.
    pub(super) fn new(
        world: &World,
        options: &GenerateOptions,
        customers: u64,
        events: u64,
    ) -> Self {
        let ids = match options.ids {
            Ids::Int => "int",
            Ids::String => "string",
        };
        Self {
            made_by: MADE_BY.into(),
            deals: world.deals,
            customers,
            events,
            ids: ids.into(),
            seed: world.seed,
            first_month: day_text(world.start()),
            months: world.months_n(),
        }
    }

    /// Whether a folder holds a note of the generator's.
    pub(super) fn is_in(folder: &Path) -> bool {
        std::fs::read(folder.join(NOTE))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok())
            .is_some_and(|note| note.get("made_by").is_some_and(|by| by == MADE_BY))
    }

    /// Writes the note.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(NOTE);
        let mut text =
            serde_json::to_string_pretty(self).map_err(|e| Error::output("write", &path, e))?;
        text.push('\n');
        std::fs::write(&path, text).map_err(|e| Error::output("write", path, e))
    }
}

/// Writes `spend/part-0.parquet`: one row per month, channel and cost type, on the month's first
/// day, and one for the brand, which no channel can claim.
///
/// Definition: amount = deals expected in the month × share and cost of the source × part of the
/// cost type × 1.04 a year × noise. Since sources win differently, their CAC differs.
pub(super) fn write_spend(world: &World, folder: &Path) -> Result<(), Error> {
    let mut rows: Vec<(Day, Option<&str>, &str, i128)> = Vec::new();
    let months = world.month_starts.iter().zip(world.month_starts.iter().skip(1));
    for (number, (start, end)) in months.enumerate() {
        let deals = world.intake.expected(start - world.start(), end - world.start());
        let years = number as f64 / 12.0;
        let shares: Vec<f64> = SOURCES.iter().map(|s| s.share * s.drift.powf(years)).collect();
        let total: f64 = shares.iter().sum();
        let mut dice = Dice::new(world.seed, Subject::Spend, number as u64);
        let mut month = 0;
        for (source, share) in SOURCES.iter().zip(&shares) {
            let cost = deals * share / total * source.cost * 1.04_f64.powf(years);
            for (kind, part) in COST_TYPES.iter().zip(source.split) {
                let amount = (cost * part * dice.factor(0.12) * 100.0) as i128;
                if amount > 0 {
                    rows.push((*start, Some(source.name), kind, amount));
                    month += amount;
                }
            }
        }
        rows.push((*start, None, "brand", month / 25));
    }
    let amounts = Decimal128Array::from_iter_values(rows.iter().map(|r| r.3));
    let path = folder.join("spend").join("part-0.parquet");
    let amounts =
        amounts.with_precision_and_scale(18, 2).map_err(|e| Error::output("write", &path, e))?;
    let columns: [(&str, ArrayRef, bool); 4] = [
        ("date", Arc::new(Date32Array::from_iter_values(rows.iter().map(|r| r.0))), false),
        ("channel", Arc::new(StringArray::from_iter(rows.iter().map(|r| r.1))), true),
        ("cost_type", Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.2))), false),
        ("amount", Arc::new(amounts), false),
    ];
    write_table(&path, columns)
}

/// Writes `owners.parquet`: one row per owner with team and region.
pub(super) fn write_owners(world: &World, folder: &Path) -> Result<(), Error> {
    let ids = world.owners.iter().map(|o| o.id.as_str());
    let teams = world.owners.iter().map(|o| o.team.as_str());
    let regions =
        world.owners.iter().map(|o| REGIONS.get(o.region).map(|r| r.name).unwrap_or_default());
    let columns: [(&str, ArrayRef, bool); 3] = [
        ("owner_id", Arc::new(StringArray::from_iter_values(ids)), false),
        ("team", Arc::new(StringArray::from_iter_values(teams)), false),
        ("region", Arc::new(StringArray::from_iter_values(regions)), false),
    ];
    write_table(&folder.join("owners.parquet"), columns)
}

fn write_table(
    path: &Path,
    columns: impl IntoIterator<Item = (&'static str, ArrayRef, bool)>,
) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|e| Error::output("create the folder", folder, e))?;
    }
    let file = File::create(path).map_err(|e| Error::output("create", path, e))?;
    let failed = |e| Error::output("write", path, e);
    let batch = RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|e| Error::output("write", path, e))?;
    let options = ArrowWriterOptions::new()
        .with_properties(properties().build())
        .with_skip_arrow_metadata(true);
    let mut writer =
        ArrowWriter::try_new_with_options(file, batch.schema(), options).map_err(failed)?;
    writer.write(&batch).map_err(failed)?;
    writer.close().map_err(failed)?;
    Ok(())
}

/// Writes `dealmill.toml`, which runs on the folder as it is, and returns its path.
pub(super) fn write_config(world: &World, form: Form, folder: &Path) -> Result<PathBuf, Error> {
    let as_of = instant_text(i64::from(world.end()) * MICROS_PER_DAY);
    let path = folder.join("dealmill.toml");
    let (shape, further) = input(form);
    let text = CONFIG.replace("{as_of}", &as_of).replace("{shape}", shape);
    let text = text.replace("{further}\n", &format!("{further}\n"));
    std::fs::write(&path, text).map_err(|e| Error::output("write", &path, e))?;
    Ok(path)
}

/// The shape of the deal events in the configuration, and the sections that belong to it.
fn input(form: Form) -> (&'static str, &'static str) {
    match form {
        Form::Events => ("events", ""),
        Form::RowHistory => ("row_history", ""),
        Form::Intervals => ("intervals", ""),
        Form::Snapshots => ("snapshots", ""),
        Form::StageDates => (
            "stage_dates",
            r#"
[inputs.deal_events.stage_dates]
lead = "lead_at"
qualified = "qualified_at"
proposal = "proposal_at"
negotiation = "negotiation_at"

[inputs.deal_events.outcome]
column = "stage_id"
date = "closed_at"
won = ["won"]
lost = ["lost"]
"#,
        ),
        Form::FieldHistory => (
            "field_history",
            r#"
[inputs.deal_events.fields]
created = "created"
StageName = "stage_id"
Amount = "amount"
Owner = "owner_id"

[inputs.deals]
path = "deals"
partitions = { year = "int", month = "int" }
"#,
        ),
    }
}

const CONFIG: &str = r#"# Runs on the history beside it: `dealmill run -c dealmill.toml`.
# Paths are relative to this file.

[run]
as_of = "{as_of}"        # the end of the history
timezone = "UTC"
periods = ["month", "quarter"]
resolution = "hour"
output = "out"

[pipeline]
stages = ["lead", "qualified", "proposal", "negotiation"]
won = ["won"]
lost = ["lost"]

[funnels.sales]
steps = ["lead", "qualified", "proposal", "won"]
window = "90 days"

[dimensions]
columns = ["region", "source", "product", "owner_id"]
slices = [[], ["region"], ["source"], ["product"], ["owner_id"], ["region", "source"]]
strata = ["source"]

[acquisition]
channel = "source"

[inputs.deal_events]
path = "deal_events"
shape = "{shape}"
partitions = { year = "int", month = "int" }
{further}
[inputs.spend]
path = "spend"
shape = "spend"

[inputs.users]
path = "owners.parquet"
shape = "lookup"
key = "owner_id"
columns = { key = "owner_id" }
"#;
