//! The forms that a generated history can be written in, each with its columns.
//!
//! A form is made of a deal's events after they are told, so that all forms tell of the same deals.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use parquet::errors::ParquetError;

use super::files::{Columns, FIRST_CUSTOMER, Names, Row, name_column};
use super::history::{Event, NO_SOURCE};
use super::world::{LOST, STAGES, WON, World};
use super::{Form, Ids};
use crate::money::{NO_AMOUNT, to_text};
use crate::time::MICROS_PER_DAY;

/// All of one deal: what it is now, and when it first came to each open stage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) created: i64,
    last: Event,
    /// By stage code; [`i64::MAX`] where it never was.
    first: [i64; WON as usize],
}

impl Row for Whole {
    fn key(&self) -> (i64, u64) {
        (self.created, self.last.deal)
    }
}

impl Whole {
    /// A deal's events as one row; `None` if there are none.
    pub(super) fn of(events: &[Event]) -> Option<Self> {
        let mut first = [i64::MAX; WON as usize];
        for event in events {
            if let Some(slot) = first.get_mut(usize::from(event.stage)) {
                *slot = (*slot).min(event.at);
            }
        }
        Some(Self { created: events.first()?.at, last: *events.last()?, first })
    }

    fn closed(&self) -> Option<i64> {
        [WON, LOST].contains(&self.last.stage).then_some(self.last.at)
    }
}

/// The rows of one deal in a form of events.
pub(super) fn rows(form: Form, world: &World, events: &[Event], rows: &mut Vec<Event>) {
    if form != Form::Snapshots {
        rows.extend_from_slice(events);
        return;
    }
    // At the last second of every month from the one of the creation on.
    let Some(created) = events.first().map(|event| event.at) else { return };
    for end in world.month_starts.iter().skip(1) {
        let at = i64::from(*end) * MICROS_PER_DAY - 1_000_000;
        if let Some(event) = events.iter().rev().find(|event| event.at <= at) {
            // An extract has no end; its creation stands there.
            rows.push(Event { at, until: created, ..*event });
        }
    }
}

/// The columns of a form of events.
pub(super) fn columns(form: Form) -> Columns<Event> {
    match form {
        Form::Intervals => Columns {
            fields: |ids| full_row(ids, &[("valid_from", false), ("valid_to", true)]),
            sorted_by: "valid_from",
            arrays: |names, rows| {
                let until = rows.iter().map(|e| (e.until != i64::MAX).then_some(e.until));
                full_row_arrays(names, rows, Some(until.collect()))
            },
        },
        Form::Snapshots => Columns {
            fields: |ids| full_row(ids, &[("snapshot_at", false), ("created_at", true)]),
            sorted_by: "snapshot_at",
            arrays: |names, rows| {
                let created = rows.iter().map(|e| Some(e.until));
                full_row_arrays(names, rows, Some(created.collect()))
            },
        },
        Form::FieldHistory => {
            Columns { fields: field_history, sorted_by: "event_time", arrays: field_history_arrays }
        }
        Form::Events | Form::RowHistory | Form::StageDates => Columns {
            fields: |ids| full_row(ids, &[("event_time", false)]),
            sorted_by: "event_time",
            arrays: |names, rows| full_row_arrays(names, rows, None),
        },
    }
}

/// The columns of the current deals.
pub(super) fn deals() -> Columns<Whole> {
    Columns {
        fields: |ids| {
            let mut fields = full_row(ids, &[("created_at", false)]);
            fields.push(instant("closed_at", true));
            fields
        },
        sorted_by: "created_at",
        arrays: whole_arrays,
    }
}

/// The columns of one row a deal with a date by stage.
pub(super) fn stage_dates() -> Columns<Whole> {
    Columns {
        fields: |ids| {
            let mut fields = (deals().fields)(ids);
            let open = STAGES.iter().take(usize::from(WON));
            fields.extend(open.map(|stage| instant(&format!("{stage}_at"), true)));
            fields
        },
        sorted_by: "created_at",
        arrays: |names, rows| {
            let mut arrays = whole_arrays(names, rows)?;
            for stage in 0..usize::from(WON) {
                let at = |whole: &Whole| whole.first.get(stage).copied();
                let known = rows.iter().map(|whole| at(whole).filter(|at| *at != i64::MAX));
                arrays.push(instants(known.collect()));
            }
            Ok(arrays)
        },
    }
}

fn instant(name: &str, is_null: bool) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), is_null)
}

fn instants(values: TimestampMicrosecondArray) -> ArrayRef {
    Arc::new(values.with_timezone("UTC"))
}

/// All that is known of a deal, with these instants before the amount.
fn full_row(ids: Ids, times: &[(&str, bool)]) -> Vec<Field> {
    let id = id_type(ids);
    let name = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut fields = vec![
        Field::new("deal_id", id.clone(), false),
        Field::new("customer_id", id, false),
        Field::new("owner_id", name.clone(), false),
        Field::new("region", name.clone(), false),
        Field::new("source", name.clone(), true),
        Field::new("product", name.clone(), false),
        Field::new("stage_id", name, false),
    ];
    fields.extend(times.iter().map(|(name, is_null)| instant(name, *is_null)));
    fields.push(Field::new("amount", DataType::Decimal128(18, 2), true));
    fields
}

fn id_type(ids: Ids) -> DataType {
    match ids {
        Ids::Int => DataType::Int64,
        Ids::String => DataType::Utf8,
    }
}

fn full_row_arrays(
    names: &Names,
    rows: &[Event],
    further: Option<TimestampMicrosecondArray>,
) -> Result<Vec<ArrayRef>, ParquetError> {
    let amount = |e: &Event| (e.amount != NO_AMOUNT).then(|| i128::from(e.amount));
    let amounts: Decimal128Array = rows.iter().map(amount).collect();
    let source = |e: &Event| (e.source != NO_SOURCE).then(|| i32::from(e.source));
    let code = |code: fn(&Event) -> i32| rows.iter().map(move |e| Some(code(e)));
    let mut arrays = vec![
        names.id_column('D', 1, rows.iter().map(|e| e.deal)),
        names.id_column('C', FIRST_CUSTOMER, rows.iter().map(|e| e.customer)),
        name_column(names.owners.clone(), code(|e| i32::from(e.owner)))?,
        name_column(names.regions.clone(), code(|e| i32::from(e.region)))?,
        name_column(names.sources.clone(), rows.iter().map(source))?,
        name_column(names.products.clone(), code(|e| i32::from(e.product)))?,
        name_column(names.stages.clone(), code(|e| i32::from(e.stage)))?,
        instants(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|e| e.at))),
    ];
    arrays.extend(further.map(instants));
    arrays.push(Arc::new(amounts.with_precision_and_scale(18, 2)?));
    Ok(arrays)
}

fn whole_arrays(names: &Names, rows: &[Whole]) -> Result<Vec<ArrayRef>, ParquetError> {
    // As they are now, but dated by their creation.
    let now: Vec<Event> = rows.iter().map(|w| Event { at: w.created, ..w.last }).collect();
    let mut arrays = full_row_arrays(names, &now, None)?;
    arrays.push(instants(rows.iter().map(Whole::closed).collect()));
    Ok(arrays)
}

fn field_history(ids: Ids) -> Vec<Field> {
    vec![
        Field::new("deal_id", id_type(ids), false),
        instant("event_time", false),
        Field::new("field", DataType::Utf8, false),
        Field::new("old_value", DataType::Utf8, true),
        Field::new("new_value", DataType::Utf8, true),
    ]
}

/// One change of a field: its name, old and new value.
type Change = (&'static str, Option<String>, Option<String>);

/// What changed with an event. First values are not logged, as in most systems.
fn changes(names: &Names, event: &Event) -> Vec<Change> {
    let Some(before) = event.before else { return vec![("created", None, None)] };
    let name = |all: &ArrayRef, code: usize| {
        let all = arrow::array::AsArray::as_string::<i32>(all);
        (code < arrow::array::Array::len(all)).then(|| all.value(code).to_owned())
    };
    let amount = |minor: i64| (minor != NO_AMOUNT).then(|| to_text(minor, 2));
    let owner = |code: u16| name(&names.owners, usize::from(code));
    let stage = |code: u8| name(&names.stages, usize::from(code));
    let mut changes = Vec::with_capacity(3);
    if before.amount != event.amount {
        changes.push(("Amount", amount(before.amount), amount(event.amount)));
    }
    if before.owner != event.owner {
        changes.push(("Owner", owner(before.owner), owner(event.owner)));
    }
    changes.push(("StageName", stage(before.stage), stage(event.stage)));
    changes
}

fn field_history_arrays(names: &Names, rows: &[Event]) -> Result<Vec<ArrayRef>, ParquetError> {
    let (mut deals, mut at) = (Vec::new(), Vec::new());
    let (mut field, mut old, mut new) =
        (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    for event in rows {
        for (name, before, after) in changes(names, event) {
            deals.push(event.deal);
            at.push(event.at);
            field.append_value(name);
            old.append_option(before);
            new.append_option(after);
        }
    }
    Ok(vec![
        names.id_column('D', 1, deals.into_iter()),
        instants(at.into()),
        Arc::new(field.finish()),
        Arc::new(old.finish()),
        Arc::new(new.finish()),
    ])
}
