//! Where in an input's files each canonical column is, whatever the shape, and what the input can
//! tell of its deals.

use std::collections::BTreeMap;

use super::preflight::{CheckedFile, Origin, Wanted};
use super::read::CheckedInput;
use super::{Present, Sources, clock, source_name, wanted_columns};
use crate::config::{Initial, Input, Outcome, Shape};
use crate::contract::{self, CanonicalColumn, ColumnType, Need, StageTable};
use crate::error::{Error, Fault};
use crate::time::Calendar;

/// An input that tells deals' histories, or what they are now.
pub(super) struct DealInput {
    pub(super) checked: CheckedInput,
    pub(super) shape: Shape,
    /// Positions of what is read.
    pub(super) layout: Layout,
    /// Positions of everything the files have.
    pub(super) full_layout: Layout,
    pub(super) values: BTreeMap<String, BTreeMap<String, String>>,
}

/// What an input can tell of its deals.
#[derive(Debug, Clone, Copy)]
pub struct InputFacts<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Its shape.
    pub shape: Shape,
    /// Whether amounts are read.
    pub has_amount: bool,
    /// Whether it has ends of intervals.
    pub has_ends: bool,
    /// Whether it tells when deals were created.
    pub has_created: bool,
}

impl DealInput {
    /// Every row of an extract has the instant of the extract, so there are few.
    pub(super) fn too_many_extracts(&self, most: usize) -> Error {
        let file = self.checked.root().to_path_buf();
        let problem =
            format!("holds more than {most} instants, so they cannot be those of extracts");
        let hint = "map the date or instant of the extract to snapshot_at, which all of its rows \
                    share; rows with instants of their own are of shape = \"row_history\"";
        let place = "snapshot_at".to_owned();
        Error::Faults(vec![Fault { file, place, problem, hint: hint.into() }])
    }

    pub(super) fn facts(&self) -> InputFacts<'_> {
        InputFacts {
            name: &self.checked.name,
            shape: self.shape,
            has_amount: self.layout.amount.is_some(),
            has_ends: self.layout.valid_to.is_some(),
            has_created: self.layout.created_at.is_some(),
        }
    }
}

/// Positions of the canonical columns among the wanted ones; `None` where no file has the column.
#[derive(Debug, Default, Clone)]
pub(crate) struct Layout {
    pub(super) deal_id: Option<usize>,
    /// Of the event, or the first instant of what a full row says.
    pub(super) event_time: Option<usize>,
    pub(super) event_type: Option<usize>,
    pub(super) stage_id: Option<usize>,
    pub(super) pipeline_id: Option<usize>,
    pub(super) amount: Option<usize>,
    pub(super) currency: Option<usize>,
    pub(super) owner_id: Option<usize>,
    pub(super) customer_id: Option<usize>,
    pub(super) expected_close: Option<usize>,
    pub(super) seq: Option<usize>,
    pub(super) event_id: Option<usize>,
    pub(super) ingested_at: Option<usize>,
    pub(super) created_at: Option<usize>,
    pub(super) dimensions: Vec<(String, Option<usize>)>,
    pub(super) stage_dates: Vec<(u16, usize)>,
    pub(super) outcome: Option<Outcome>,
    pub(super) outcome_column: Option<usize>,
    pub(super) outcome_date: Option<usize>,
    /// Of full rows: won, lost, open or deleted.
    pub(super) outcome_name: Option<usize>,
    pub(super) is_closed: Option<usize>,
    pub(super) is_won: Option<usize>,
    pub(super) is_deleted: Option<usize>,
    pub(super) valid_to: Option<usize>,
    pub(super) is_active: Option<usize>,
    pub(super) closed_at: Option<usize>,
    pub(super) won_at: Option<usize>,
    pub(super) lost_at: Option<usize>,
    pub(super) deleted_at: Option<usize>,
    pub(super) field: Option<usize>,
    pub(super) new_value: Option<usize>,
    pub(super) old_value: Option<usize>,
    pub(super) fields: BTreeMap<String, Target>,
    pub(super) initial: Initial,
}

/// What a field of a field history is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Created,
    Stage,
    Outcome,
    Amount,
    Owner,
    Customer,
    ExpectedClose,
    IsDeleted,
    Pipeline,
    /// The dimension at this position.
    Dimension(usize),
}

impl Target {
    /// What a name under `[inputs.….fields]` means; a dimension goes over a column of its name.
    fn of(name: &str, dimensions: &[String]) -> Option<Self> {
        Some(match name {
            "created" => Self::Created,
            "stage_id" => Self::Stage,
            "outcome" => Self::Outcome,
            "amount" => Self::Amount,
            "owner_id" => Self::Owner,
            "customer_id" => Self::Customer,
            "expected_close" => Self::ExpectedClose,
            "is_deleted" => Self::IsDeleted,
            "pipeline_id" => Self::Pipeline,
            other => Self::Dimension(dimensions.iter().position(|d| d == other)?),
        })
    }
}

impl Target {
    /// Whether it gives the dimension at a position: as such, or because a dimension of the owner
    /// or the customer has their name.
    pub(super) fn gives(self, place: usize, dimension: &str) -> bool {
        match self {
            Self::Dimension(own) => own == place,
            Self::Owner => matches!(dimension, "owner" | "owner_id"),
            Self::Customer => matches!(dimension, "customer" | "customer_id"),
            Self::Pipeline => dimension == "pipeline_id",
            _ => false,
        }
    }
}

impl Present {
    /// Notes what one more input can tell.
    pub(super) fn note(&mut self, input: &DealInput) {
        let layout = &input.layout;
        let is_field = |target: Target| layout.fields.values().any(|field| *field == target);
        let is_full =
            matches!(input.shape, Shape::RowHistory | Shape::Intervals | Shape::Snapshots);
        let is_current = input.shape == Shape::Deals;
        self.amount |= layout.amount.is_some() || is_field(Target::Amount);
        self.currency |= layout.currency.is_some();
        self.owner |= layout.owner_id.is_some() || is_field(Target::Owner);
        self.customer |= layout.customer_id.is_some() || is_field(Target::Customer);
        self.expected_close |= layout.expected_close.is_some() || is_field(Target::ExpectedClose);
        self.pipeline |= layout.pipeline_id.is_some() || is_field(Target::Pipeline);
        self.seq |= layout.seq.is_some() || input.shape == Shape::Intervals;
        self.event_id |= layout.event_id.is_some();
        self.ingested |=
            layout.ingested_at.is_some() || is_current || (is_full && layout.created_at.is_some());
    }
}

/// Lists and checks the files of an input.
pub(super) fn open_input(
    name: &str,
    input: &Input,
    calendar: Calendar,
    stages: &StageTable,
    event_dimensions: &[String],
    sources: Sources,
) -> Result<DealInput, Error> {
    let contract = contract::columns_of(input.shape).unwrap_or_default();
    let mut wanted = wanted_columns(input, contract);
    let mut explicit = input.columns.clone();
    let optional = |canonical: &str, source: String, holds| Wanted {
        canonical: canonical.to_owned(),
        source,
        holds,
        need: Need::Optional,
    };
    let dimensions_at = wanted.len();
    for dimension in event_dimensions {
        let source = dimension_source(input, contract, dimension);
        // Else it may come with another input, or as a field.
        if sources == Sources::One && input.shape != Shape::FieldHistory {
            explicit.insert(dimension.clone(), source.clone());
        }
        wanted.push(optional(dimension, source, ColumnType::Text));
    }
    let dates_at = wanted.len();
    let mut dated = Vec::new();
    for (stage, column) in &input.stage_dates {
        dated.push(stages.code(stage)?);
        explicit.insert(stage.clone(), column.clone());
        wanted.push(optional(stage, column.clone(), ColumnType::Instant));
    }
    let outcome_at = wanted.len();
    if let Some(outcome) = &input.outcome {
        explicit.insert("outcome".into(), outcome.column.clone());
        explicit.insert("outcome date".into(), outcome.date.clone());
        wanted.push(optional("outcome", outcome.column.clone(), ColumnType::Text));
        wanted.push(optional("outcome date", outcome.date.clone(), ColumnType::Instant));
    }
    let strict = Input { columns: explicit, ..input.clone() };
    let checked = CheckedInput::open(name, &strict, &wanted, clock(name, input, calendar)?)?;
    let in_some_file = |index: usize| {
        let has = |f: &CheckedFile| f.origins.get(index) != Some(&Origin::Missing);
        checked.files.iter().any(has).then_some(index)
    };
    let position =
        |column: &str| contract.iter().position(|c| c.name == column).and_then(in_some_file);
    let mut layout = canonical(&position);
    let dimensions = event_dimensions.iter().enumerate();
    layout.dimensions =
        dimensions.map(|(i, d)| (d.clone(), in_some_file(dimensions_at + i))).collect();
    let dated = dated.into_iter().enumerate();
    layout.stage_dates = dated.map(|(i, stage)| (stage, dates_at + i)).collect();
    layout.outcome.clone_from(&input.outcome);
    layout.outcome_column = input.outcome.as_ref().map(|_| outcome_at);
    layout.outcome_date = input.outcome.as_ref().map(|_| outcome_at + 1);
    let target = |(field, name): (&String, &String)| {
        Some((field.clone(), Target::of(name, event_dimensions)?))
    };
    layout.fields = input.fields.iter().filter_map(target).collect();
    layout.initial = input.initial;
    let (shape, values) = (input.shape, input.values.clone());
    Ok(DealInput { checked, shape, full_layout: layout.clone(), layout, values })
}

/// The dimensions that no input has; none of them may be unknown for every deal in silence.
pub(super) fn untold_dimensions(inputs: &[DealInput], dimensions: &[String]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let Some(first) = inputs.first() else { return faults };
    for (place, name) in dimensions.iter().enumerate() {
        let is_told = |input: &DealInput| {
            let column = input.layout.dimensions.get(place).is_some_and(|(_, at)| at.is_some());
            column || input.layout.fields.values().any(|field| field.gives(place, name))
        };
        if !inputs.iter().any(is_told) {
            faults.push(Fault {
                file: first.checked.root().to_path_buf(),
                place: format!("dimension {name:?}"),
                problem: "is a column of no input of deals, nor a field".into(),
                hint: "map a column to it in [inputs.….columns], or a field in [inputs.….fields]"
                    .into(),
            });
        }
    }
    faults
}

/// The columns of the contract.
fn canonical(position: &impl Fn(&str) -> Option<usize>) -> Layout {
    let begins = ["event_time", "valid_from", "snapshot_at"];
    Layout {
        deal_id: position("deal_id"),
        event_time: begins.into_iter().find_map(position),
        event_type: position("event_type"),
        stage_id: position("stage_id"),
        pipeline_id: position("pipeline_id"),
        amount: position("amount"),
        currency: position("currency"),
        owner_id: position("owner_id"),
        customer_id: position("customer_id"),
        expected_close: position("expected_close"),
        seq: position("seq"),
        event_id: position("event_id"),
        ingested_at: position("ingested_at"),
        created_at: position("created_at"),
        outcome_name: position("outcome"),
        is_closed: position("is_closed"),
        is_won: position("is_won"),
        is_deleted: position("is_deleted"),
        valid_to: position("valid_to"),
        is_active: position("is_active"),
        closed_at: position("closed_at"),
        won_at: position("won_at"),
        lost_at: position("lost_at"),
        deleted_at: position("deleted_at"),
        field: position("field"),
        new_value: position("new_value"),
        old_value: position("old_value"),
        ..Layout::default()
    }
}

/// Where a dimension is read from: its mapped column, a canonical column of its name, or of its
/// name with `_id` (`owner` is `owner_id`), or a column of its own name.
fn dimension_source(input: &Input, contract: &[CanonicalColumn], dimension: &str) -> String {
    if let Some(column) = input.columns.get(dimension) {
        return column.clone();
    }
    let with_id = format!("{dimension}_id");
    if contract.iter().any(|c| c.name == with_id) {
        return source_name(input, &with_id);
    }
    source_name(input, dimension)
}
