//! The gatekeeper: every file of an input is opened, its schema compared with the contract, and all
//! problems are reported together before anything is read.
//!
//! Bounded: footers up to 64 MiB, 2,000 columns, 100,000 row groups a file (reliability.md section 4).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::basic::Type as Physical;
use parquet::errors::ParquetError;
use rayon::prelude::*;

use super::convert::NAIVE_HINT;
use super::csv::{Broken, Dialect, Opened};
use super::discover::{FileFormat, FoundFile};
use super::guard::guarded;
use super::pages;
use super::partitions;
use crate::config::Input;
use crate::contract::{ColumnType, Need};
use crate::error::{Fault, nearest_names};

const FOOTER_BYTES_MAX: u32 = 64 << 20;
const COLUMNS_MAX: usize = 2_000;
const ROW_GROUPS_MAX: usize = 100_000;

/// A column that an input is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Canonical name, for messages.
    pub(crate) canonical: String,
    /// Name in the files.
    pub(crate) source: String,
    /// What it must hold.
    pub(crate) holds: ColumnType,
    /// Whether it must be there.
    pub(crate) need: Need,
}

/// Where a wanted column comes from in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The column at this position of the file.
    Column(usize),
    /// The partition value of the path; `None` is null.
    Partition(Option<String>),
    /// The file does not have it.
    Missing,
}

/// What was found out about one file.
#[derive(Debug, Clone)]
pub(crate) struct CheckedFile {
    pub(crate) found: FoundFile,
    /// One entry per wanted column.
    pub(crate) origins: Vec<Origin>,
    /// The schema to read with: names as dictionaries or views.
    pub(crate) schema: SchemaRef,
    /// The footer; none for CSV.
    pub(crate) footer: Option<ArrowReaderMetadata>,
}

/// The physical kind of a column, which may not differ between files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Integer,
    Text,
    NaiveTime,
    ZonedTime,
    Date,
    Decimal,
    Float,
    Boolean,
    Null,
    Other,
}

impl Class {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Timestamp(_, None) => Self::NaiveTime,
            DataType::Timestamp(_, Some(_)) => Self::ZonedTime,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Text,
            DataType::Dictionary(_, value) => Self::of(value),
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => {
                Self::Decimal
            }
            DataType::Boolean => Self::Boolean,
            DataType::Null => Self::Null,
            t if t.is_integer() => Self::Integer,
            t if t.is_floating() => Self::Float,
            _ => Self::Other,
        }
    }

    fn suits(self, holds: ColumnType) -> bool {
        match holds {
            ColumnType::Id | ColumnType::Text | ColumnType::Integer => {
                matches!(self, Self::Integer | Self::Text | Self::Null)
            }
            ColumnType::Flag => {
                matches!(self, Self::Boolean | Self::Integer | Self::Text | Self::Null)
            }
            ColumnType::Instant | ColumnType::Date => matches!(
                self,
                Self::NaiveTime | Self::ZonedTime | Self::Date | Self::Text | Self::Null
            ),
            ColumnType::Money => matches!(
                self,
                Self::Integer | Self::Decimal | Self::Float | Self::Text | Self::Null
            ),
        }
    }

    /// Whether two files may hold the same column in these two kinds.
    fn agrees(self, other: Self, holds: ColumnType) -> bool {
        let number = |c| matches!(c, Self::Integer | Self::Decimal | Self::Float);
        self == other
            || self == Self::Null
            || other == Self::Null
            || (holds == ColumnType::Money && number(self) && number(other))
    }
}

/// Whether the input says in which zone times without one are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NaiveTimes {
    /// `timezone` is set.
    Declared,
    /// It is not, so naive timestamps are refused.
    Undeclared,
}

/// Checks every file of an input against the wanted columns.
///
/// Returns the files that can be read, the problems, and warnings about optional columns that only
/// some files have.
pub(crate) fn check_files(
    mut files: Vec<FoundFile>,
    wanted: &[Wanted],
    input: &Input,
    naive: NaiveTimes,
    dialect: &Dialect,
) -> (Vec<CheckedFile>, Vec<Fault>, Vec<String>) {
    let mut faults = Vec::new();
    partitions::settle(&mut files, &input.partitions, &mut faults);
    let mut checked = Vec::new();
    let mut first_seen: Vec<Option<(DataType, String)>> = vec![None; wanted.len()];
    // Ten thousand footers take a while; the rest is compared file by file, in their order.
    let opened: Vec<_> = files.par_iter().map(|found| open_schema(found, dialect)).collect();
    for (found, opened) in files.into_iter().zip(opened) {
        let (schema, footer) = match opened {
            Ok(opened) => opened,
            Err(broken) => {
                faults.push(broken.fault(&found.path));
                continue;
            }
        };
        let file = match_columns(found, &schema, footer, wanted, &mut faults);
        check_types(&file, &schema, wanted, naive, &mut first_seen, &mut faults);
        checked.push(file);
    }
    let warnings = check_presence(&checked, wanted, input, &mut faults);
    (checked, faults, warnings)
}

fn open_schema(
    found: &FoundFile,
    dialect: &Dialect,
) -> Result<(SchemaRef, Option<ArrowReaderMetadata>), Broken> {
    match found.format {
        FileFormat::Csv => Ok((Opened::open(&found.path, dialect)?.schema(), None)),
        FileFormat::Parquet => {
            let metadata = parquet_footer(&found.path).map_err(Broken::file)?;
            Ok((metadata.schema().clone(), Some(metadata)))
        }
    }
}

fn parquet_footer(path: &Path) -> Result<ArrowReaderMetadata, String> {
    let cannot = |e: std::io::Error| format!("cannot be read: {e}");
    let mut file = File::open(path).map_err(cannot)?;
    let mut tail = [0_u8; 8];
    let bytes = file.seek(SeekFrom::End(-8)).map_err(cannot)? + 8;
    file.read_exact(&mut tail).map_err(cannot)?;
    let [a, b, c, d, magic @ ..] = tail;
    if &magic == b"PARE" {
        return Err("is an encrypted Parquet file, which is not supported".into());
    }
    if &magic != b"PAR1" {
        return Err("is not a Parquet file, or was cut short: it does not end in PAR1".into());
    }
    let footer_bytes = u32::from_le_bytes([a, b, c, d]);
    if footer_bytes > FOOTER_BYTES_MAX {
        return Err(format!(
            "its footer claims {footer_bytes} bytes, at most {FOOTER_BYTES_MAX} are read"
        ));
    }
    // The decoder's own bugs may panic on damaged input; that is a broken file, not a crash.
    let load = || ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
    let metadata = guarded(load)
        .ok_or_else(|| "its footer is damaged".to_owned())?
        .map_err(|e| format!("its footer cannot be read: {e}"))?;
    let data_bytes = (bytes - 8).checked_sub(u64::from(footer_bytes));
    let whole = data_bytes.ok_or_else(|| ParquetError::EOF("it has no beginning".into()));
    whole
        .and_then(|data_bytes| pages::check_footer(metadata.metadata(), data_bytes))
        .map_err(|e| format!("its footer contradicts itself: {e}"))?;
    let (columns, groups) =
        (metadata.schema().fields().len(), metadata.metadata().num_row_groups());
    if columns > COLUMNS_MAX || groups > ROW_GROUPS_MAX {
        return Err(format!(
            "has {columns} columns and {groups} row groups; at most {COLUMNS_MAX} and {ROW_GROUPS_MAX} are read"
        ));
    }
    Ok(metadata)
}

fn match_columns(
    found: FoundFile,
    schema: &SchemaRef,
    footer: Option<ArrowReaderMetadata>,
    wanted: &[Wanted],
    faults: &mut Vec<Fault>,
) -> CheckedFile {
    let mut origins = Vec::with_capacity(wanted.len());
    let mut read_as: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    for column in wanted {
        let partition = found.partitions.iter().find(|(key, _)| *key == column.source);
        // An empty name stands for a column that is not to be read, though the file may have it.
        let is_read = |name: &str| !column.source.is_empty() && name == column.source;
        let mut positions = schema.fields().iter().enumerate().filter(|(_, f)| is_read(f.name()));
        let position = positions.next().map(|(position, _)| position);
        if positions.next().is_some() {
            faults.push(Fault {
                file: found.path.clone(),
                place: format!("column {:?}", column.source),
                problem: "is there more than once".into(),
                hint: "give the columns of the file different names".into(),
            });
        }
        origins.push(match (position, partition) {
            (Some(_), Some(_)) => {
                faults.push(Fault {
                    file: found.path.clone(),
                    place: format!("column {:?}", column.source),
                    problem: "is both a column of the file and a partition key of its path".into(),
                    hint: "map the canonical column to only one of them".into(),
                });
                Origin::Missing
            }
            (Some(position), None) => {
                let physical = footer.as_ref().and_then(|f| physical_type(f, position));
                if let Some(field) = read_as.get_mut(position) {
                    *field = Arc::new(reading_type(field, column.holds, physical));
                }
                Origin::Column(position)
            }
            (None, Some((_, value))) => Origin::Partition(value.clone()),
            (None, None) => Origin::Missing,
        });
    }
    CheckedFile { found, origins, schema: Arc::new(Schema::new(read_as)), footer }
}

/// How a column is stored; none for a column of columns.
fn physical_type(footer: &ArrowReaderMetadata, position: usize) -> Option<Physical> {
    let schema = footer.parquet_schema();
    (0..schema.num_columns())
        .find(|leaf| schema.get_column_root_idx(*leaf) == position)
        .map(|leaf| schema.column(leaf).physical_type())
}

/// Names are read as dictionary codes, so that a name is looked up once a dictionary; identifiers
/// as views into the page, so that they are not copied; dictionaries of anything else as what they
/// hold; 96-bit timestamps as microseconds, because nanoseconds wrap around after 2262.
fn reading_type(field: &Field, holds: ColumnType, physical: Option<Physical>) -> Field {
    let text = Class::of(field.data_type()) == Class::Text;
    let data_type = match (holds, field.data_type()) {
        (ColumnType::Text, _) if text => {
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
        }
        _ if text => DataType::Utf8View,
        (_, DataType::Dictionary(_, value)) => value.as_ref().clone(),
        // Half the bytes of what the format makes of them.
        (ColumnType::Money, DataType::Decimal128(precision, scale))
            if physical == Some(Physical::INT64) =>
        {
            DataType::Decimal64(*precision, *scale)
        }
        (_, DataType::Timestamp(_, zone)) if physical == Some(Physical::INT96) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        (_, given) => given.clone(),
    };
    field.clone().with_data_type(data_type)
}

fn check_types(
    file: &CheckedFile,
    schema: &SchemaRef,
    wanted: &[Wanted],
    naive: NaiveTimes,
    first_seen: &mut [Option<(DataType, String)>],
    faults: &mut Vec<Fault>,
) {
    for ((column, origin), seen) in wanted.iter().zip(&file.origins).zip(first_seen) {
        let Origin::Column(position) = origin else { continue };
        let Some(field) = schema.fields().get(*position) else { continue };
        let class = Class::of(field.data_type());
        let mut refuse = |problem: String, hint: &str| {
            faults.push(Fault {
                file: file.found.path.clone(),
                place: format!("column {:?}", column.source),
                problem,
                hint: hint.to_owned(),
            });
        };
        if !class.suits(column.holds) {
            let problem = format!(
                "holds {} where {} ({}) is expected",
                field.data_type(),
                column.canonical,
                column.holds.accepted()
            );
            let hint = match (column.holds, class) {
                (ColumnType::Id | ColumnType::Text, Class::Float | Class::Decimal) => {
                    "identifiers become such numbers where a column has gaps or other numbers: \
                     write them as integers or as text"
                }
                _ => "map another column to it in [inputs.….columns]",
            };
            refuse(problem, hint);
        } else if class == Class::NaiveTime && naive == NaiveTimes::Undeclared {
            let problem = "holds timestamps without a zone".to_owned();
            refuse(problem, NAIVE_HINT);
        }
        match seen {
            None => {
                let path = file.found.path.display().to_string();
                *seen = Some((field.data_type().clone(), path));
            }
            Some((first, path)) if !class.agrees(Class::of(first), column.holds) => {
                let problem = format!("holds {} but {first} in {path}", field.data_type());
                refuse(problem, "all files of an input must hold a column in the same type");
            }
            Some(_) => {}
        }
    }
}

/// Columns that no file has, and optional ones that only some have.
fn check_presence(
    checked: &[CheckedFile],
    wanted: &[Wanted],
    input: &Input,
    faults: &mut Vec<Fault>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, column) in wanted.iter().enumerate() {
        let lacks = |file: &&CheckedFile| file.origins.get(index) == Some(&Origin::Missing);
        let lacking: Vec<&CheckedFile> = checked.iter().filter(lacks).collect();
        let (Some(first), Some(any)) = (lacking.first(), checked.first()) else { continue };
        let everywhere = lacking.len() == checked.len();
        let is_mapped = input.columns.contains_key(&column.canonical) && !column.source.is_empty();
        let must = column.need == Need::Required || is_mapped;
        if must && (everywhere || column.need == Need::Required) {
            let names = any.schema.fields().iter().map(|f| f.name().as_str());
            let near = nearest_names(&column.source, names.clone());
            let have: Vec<&str> = names.collect();
            let hint = if let Some(hint) = header_hint(any.found.format, &have) {
                hint
            } else if near.is_empty() {
                format!("the file has: {}; map one in [inputs.….columns]", have.join(", "))
            } else {
                format!("did you mean {}? map it in [inputs.….columns]", near.join(" or "))
            };
            faults.push(Fault {
                file: first.found.path.clone(),
                place: format!("column {:?}", column.source),
                problem: format!("is missing; {} is expected there", column.canonical),
                hint,
            });
        } else if !everywhere {
            warnings.push(format!(
                "column {:?} is missing in {} of {} files, such as {}; taken as unknown there",
                column.source,
                lacking.len(),
                checked.len(),
                first.found.path.display()
            ));
        }
    }
    warnings
}

/// What may be wrong with the header of a CSV file in which a column was not found.
fn header_hint(format: FileFormat, names: &[&str]) -> Option<String> {
    if format != FileFormat::Csv {
        return None;
    }
    let parts = |name: &&str| name.contains([';', '\t', '|', ',']);
    if let [only] = names
        && parts(only)
    {
        return Some(format!(
            "its header is one field, {only:?}: say what parts them with delimiter = \"auto\" in the \
             input's section"
        ));
    }
    let is_data = |name: &&str| {
        name.parse::<f64>().is_ok() || chrono::NaiveDate::parse_from_str(name, "%Y-%m-%d").is_ok()
    };
    names.iter().find(|name| is_data(name)).map(|name| {
        format!("the first line must name the columns, and {name:?} in it looks like data")
    })
}
