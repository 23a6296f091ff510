//! Arrow arrays of whatever type a file holds to the canonical plain columns.
//!
//! Nulls become the column's stand-in (`NO_INSTANT`, `NO_CODE`, …); values that are there but cannot
//! be read are reported by row, never guessed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal64Type, Decimal128Type, Float64Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;

use super::intern::Interner;
use crate::contract::{Id, NO_CODE};
use crate::error::{Error, Fault};
use crate::money::{self, Currency, DecimalMark, MAX_AMOUNT, NO_AMOUNT};
use crate::time::{Calendar, Day, Instant, MICROS_PER_DAY, NO_DAY, NO_INSTANT};

/// A value that is there but cannot be read as a time.
pub(crate) const BAD_INSTANT: Instant = i64::MIN + 1;
/// A value that is there but cannot be read as money.
pub(crate) const BAD_AMOUNT: i64 = i64::MIN + 1;

/// A textual time without a zone where none is declared; never leaves this module.
const ZONE_UNKNOWN: Instant = i64::MIN + 2;
/// 1900-01-01 and 2200-01-01 as days since the epoch.
const DAY_1900: Day = -25_567;
const DAY_2200: Day = 84_006;

/// What to do about times without a zone.
pub(crate) const NAIVE_HINT: &str =
    "say which zone they are in: timezone = \"UTC\" in the input's section";

/// What is needed to read the times of an input.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// The reporting zone, in which dates are local days (G13).
    pub(crate) reporting: Calendar,
    /// The declared zone of timestamps without one.
    pub(crate) naive: Option<Calendar>,
    /// `strftime` format of textual times; ISO 8601 without.
    pub(crate) format: Option<String>,
}

fn cast_error(e: ArrowError) -> Error {
    Error::compute("casting a column", e)
}

/// Identifiers, after trimming and replacing.
pub(crate) fn ids(
    array: &ArrayRef,
    interner: &Interner,
    replace: Option<&BTreeMap<String, String>>,
) -> Result<Vec<Id>, Error> {
    if array.data_type().is_integer() {
        let ints = wide_integers(array)?;
        let ints = ints.as_primitive::<Int64Type>();
        let ids: Vec<Id> = if ints.null_count() == 0 {
            ints.values().iter().map(|v| Id::integer(*v)).collect()
        } else {
            ints.iter().map(|v| v.map_or(Id::NONE, Id::integer)).collect()
        };
        return Ok(replace_integers(ids, replace));
    }
    let mut ids = Vec::with_capacity(array.len());
    each_text(array, |text| {
        ids.push(named(text, replace).map_or(Ok(Id::NONE), |text| interner.id(text))?);
        Ok(())
    })?;
    Ok(ids)
}

fn wide_integers(array: &ArrayRef) -> Result<ArrayRef, Error> {
    if *array.data_type() == DataType::Int64 {
        return Ok(array.clone());
    }
    cast(array, &DataType::Int64).map_err(cast_error)
}

/// A name trimmed and replaced; `None` if nothing is left of it.
pub(crate) fn named<'a>(
    text: Option<&'a str>,
    replace: Option<&'a BTreeMap<String, String>>,
) -> Option<&'a str> {
    let text = trimmed(text?);
    let text = replace.and_then(|r| r.get(text)).map_or(text, String::as_str);
    (!text.is_empty()).then_some(text)
}

/// Text without white space around it; most has none, which its first and last byte tell.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~', .., b'!'..=b'~'] | [b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

/// Replaces integer identifiers; a replacement that is no integer takes the identifier away.
fn replace_integers(ids: Vec<Id>, replace: Option<&BTreeMap<String, String>>) -> Vec<Id> {
    let Some(replace) = replace else { return ids };
    let pairs = replace.iter().filter_map(|(from, to)| Some((from.parse::<i64>().ok()?, to)));
    let pairs: BTreeMap<Id, Id> = pairs
        .map(|(from, to)| (Id::integer(from), to.parse().map_or(Id::NONE, Id::integer)))
        .collect();
    ids.into_iter().map(|id| pairs.get(&id).copied().unwrap_or(id)).collect()
}

/// What the names of the dictionary last seen were mapped to. A row group's batches share one
/// dictionary, so that its names are looked up once a row group.
pub(crate) struct Seen<T> {
    dictionary: Option<ArrayRef>,
    mapped: Vec<T>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self { dictionary: None, mapped: Vec::new() }
    }
}

/// Codes of names, after trimming and replacing; [`NO_CODE`] for null and empty.
pub(crate) fn codes(
    array: &ArrayRef,
    seen: &mut Seen<u32>,
    interner: &Interner,
    replace: Option<&BTreeMap<String, String>>,
) -> Result<Vec<u32>, Error> {
    let intern = |text: Option<&str>| -> Result<u32, Error> {
        named(text, replace).map_or(Ok(NO_CODE), |text| interner.intern(text).map(|(code, _)| code))
    };
    each_name(array, seen, intern, NO_CODE)
}

/// Maps every name of a dictionary once where the array has one, else row by row. `map` must give
/// the same for the same name as long as `seen` is used.
pub(crate) fn each_name<T: Copy>(
    array: &ArrayRef,
    seen: &mut Seen<T>,
    mut map: impl FnMut(Option<&str>) -> Result<T, Error>,
    null: T,
) -> Result<Vec<T>, Error> {
    let mut mapped = Vec::new();
    let Some(dictionary) = array.as_dictionary_opt::<Int32Type>() else {
        mapped.reserve_exact(array.len());
        each_text(array, |text| {
            mapped.push(map(text)?);
            Ok(())
        })?;
        return Ok(mapped);
    };
    let values = dictionary.values();
    // The array seen is held, so that no other one can be where it is.
    if !seen.dictionary.as_ref().is_some_and(|known| Arc::ptr_eq(known, values)) {
        seen.mapped.clear();
        each_text(values, |text| {
            seen.mapped.push(map(text)?);
            Ok(())
        })?;
        seen.dictionary = Some(values.clone());
    }
    let keys = dictionary.keys();
    let lookup = |key: i32| seen.mapped.get(key as usize).copied().unwrap_or(null);
    if keys.null_count() == 0 {
        mapped.extend(keys.values().iter().map(|key| lookup(*key)));
    } else {
        mapped.extend(keys.iter().map(|key| key.map_or(null, lookup)));
    }
    Ok(mapped)
}

/// Calls `f` with every value as text.
pub(crate) fn each_text(
    array: &ArrayRef,
    mut f: impl FnMut(Option<&str>) -> Result<(), Error>,
) -> Result<(), Error> {
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().iter().try_for_each(f),
        DataType::Utf8 => array.as_string::<i32>().iter().try_for_each(f),
        _ => {
            let text = cast(array, &DataType::Utf8).map_err(cast_error)?;
            text.as_string::<i32>().iter().try_for_each(&mut f)
        }
    }
}

/// Instants in microseconds UTC; [`NO_INSTANT`] for null, [`BAD_INSTANT`] for unreadable text.
///
/// # Errors
/// [`Error::Faults`] without a place for textual times without a zone where none is declared (G13);
/// the caller knows the place.
pub(crate) fn instants(array: &ArrayRef, clock: &Clock) -> Result<Vec<Instant>, Error> {
    match array.data_type() {
        DataType::Timestamp(_, zone) => {
            let zoned = zone.is_some();
            let micros = to_micros(array)?;
            if zoned {
                return Ok(micros);
            }
            let calendar = clock.naive.unwrap_or(clock.reporting);
            Ok(micros.into_iter().map(|at| local_instant(&calendar, at)).collect())
        }
        DataType::Date32 | DataType::Date64 => {
            let days = cast(array, &DataType::Date32).map_err(cast_error)?;
            let days = days.as_primitive::<Date32Type>();
            let instant = |day: Option<Day>| day.map_or(NO_INSTANT, |d| day_instant(clock, d));
            Ok(days.iter().map(instant).collect())
        }
        _ => {
            let mut parsed = Vec::with_capacity(array.len());
            each_text(array, |text| {
                let text = text.map(str::trim).filter(|t| !t.is_empty());
                parsed.push(text.map_or(NO_INSTANT, |t| parse_instant(t, clock)));
                Ok(())
            })?;
            if parsed.contains(&ZONE_UNKNOWN) {
                return Err(zone_unknown());
            }
            Ok(parsed)
        }
    }
}

fn zone_unknown() -> Error {
    Error::Faults(vec![Fault {
        file: PathBuf::new(),
        place: String::new(),
        problem: "holds times without a zone".into(),
        hint: NAIVE_HINT.into(),
    }])
}

/// The instant of a local time. Stand-ins for none, null among them, are left to the rules (G22) and
/// may not overflow on the way.
fn local_instant(calendar: &Calendar, local: i64) -> Instant {
    if is_plausible(local) { calendar.local_to_instant(local) } else { local }
}

/// Days that stand for none, epoch 0 in whatever zone among them, are left to the sentinel rule and
/// may not overflow on the way.
fn day_instant(clock: &Clock, day: Day) -> Instant {
    if is_plausible_day(day) {
        clock.reporting.instant(day)
    } else {
        i64::from(day).saturating_mul(MICROS_PER_DAY)
    }
}

fn to_micros(array: &ArrayRef) -> Result<Vec<Instant>, Error> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return Err(Error::Bug("not a timestamp".into()));
    };
    if *unit == TimeUnit::Microsecond {
        let micros = array.as_primitive::<TimestampMicrosecondType>();
        return Ok(if micros.null_count() == 0 {
            micros.values().to_vec()
        } else {
            micros.iter().map(|v| v.unwrap_or(NO_INSTANT)).collect()
        });
    }
    let raw = cast(array, &DataType::Int64).map_err(cast_error)?;
    let raw = raw.as_primitive::<Int64Type>();
    let scale = |v: i64| match unit {
        TimeUnit::Second => v.saturating_mul(1_000_000),
        TimeUnit::Millisecond => v.saturating_mul(1_000),
        TimeUnit::Nanosecond => v.div_euclid(1_000),
        TimeUnit::Microsecond => v,
    };
    // What does not fit is far outside any calendar, but it is not null.
    let scale = |v: i64| scale(v).max(ZONE_UNKNOWN + 1);
    Ok(raw.iter().map(|v| v.map_or(NO_INSTANT, scale)).collect())
}

/// Whether what a `strftime` format writes of a time is read as one by the same format. Parts such as
/// the quarter can be written only.
#[must_use]
pub fn can_be_read(format: &str) -> bool {
    use std::fmt::Write;
    let calendar = Calendar::UTC;
    let clock = Clock { reporting: calendar, naive: Some(calendar), format: Some(format.into()) };
    let time = chrono::DateTime::from_timestamp(1_700_000_000, 0);
    let mut text = String::new();
    time.is_some_and(|time| write!(text, "{}", time.fixed_offset().format(format)).is_ok())
        && parse_instant(&text, &clock) != BAD_INSTANT
}

fn parse_instant(text: &str, clock: &Clock) -> Instant {
    use chrono::{DateTime, NaiveDate, NaiveDateTime};
    let naive = |t: NaiveDateTime| match &clock.naive {
        Some(calendar) => local_instant(calendar, t.and_utc().timestamp_micros()),
        None => ZONE_UNKNOWN,
    };
    let day = |d: NaiveDate| day_instant(clock, crate::time::from_date(d));
    if let Some(format) = &clock.format {
        return DateTime::parse_from_str(text, format)
            .map(|t| t.timestamp_micros())
            .or_else(|_| NaiveDateTime::parse_from_str(text, format).map(naive))
            .or_else(|_| NaiveDate::parse_from_str(text, format).map(day))
            .unwrap_or(BAD_INSTANT);
    }
    if text.starts_with("0000-00-00") {
        return 0; // The sentinel rule takes it from here (G22).
    }
    if text.len() == 10 {
        return NaiveDate::parse_from_str(text, "%Y-%m-%d").map(day).unwrap_or(BAD_INSTANT);
    }
    if let Ok(zoned) = DateTime::parse_from_rfc3339(text) {
        return zoned.timestamp_micros();
    }
    // ISO 8601 in the forms that systems write: with or without seconds, zone with or without colon.
    let text = text.strip_suffix(" UTC").map_or_else(|| text.into(), |t| format!("{t}Z"));
    let text = text.as_str();
    for format in [
        "%Y-%m-%d %H:%M:%S%.f%#z",
        "%Y-%m-%dT%H:%M:%S%.f%#z",
        "%Y-%m-%d %H:%M%#z",
        "%Y-%m-%dT%H:%M%#z",
    ] {
        if let Ok(zoned) = DateTime::parse_from_str(text, format) {
            return zoned.timestamp_micros();
        }
    }
    for format in
        ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
    {
        if let Ok(local) = NaiveDateTime::parse_from_str(text, format) {
            return naive(local);
        }
    }
    BAD_INSTANT
}

/// Civil days of the reporting zone; [`NO_DAY`] for null, unreadable or sentinel.
pub(crate) fn days(array: &ArrayRef, clock: &Clock) -> Result<Vec<Day>, Error> {
    if matches!(array.data_type(), DataType::Date32) {
        let days = array.as_primitive::<Date32Type>();
        let given = |d: Option<Day>| d.filter(|d| is_plausible_day(*d)).unwrap_or(NO_DAY);
        return Ok(days.iter().map(given).collect());
    }
    let instants = instants(array, clock)?;
    let day = |at: Instant| if is_plausible(at) { clock.reporting.day(at) } else { NO_DAY };
    Ok(instants.into_iter().map(day).collect())
}

/// Whether an instant can be one of a deal's history: between 1900 and 2200, and not epoch 0 (G22).
pub(crate) fn is_plausible(at: Instant) -> bool {
    let from = i64::from(DAY_1900) * MICROS_PER_DAY;
    let until = i64::from(DAY_2200) * MICROS_PER_DAY;
    (from..until).contains(&at) && at != 0
}

fn is_plausible_day(day: Day) -> bool {
    (DAY_1900..DAY_2200).contains(&day) && day != 0
}

/// A column as plain text.
pub(crate) fn as_text(array: &ArrayRef) -> Result<ArrayRef, Error> {
    cast(array, &DataType::Utf8).map_err(cast_error)
}

/// Yes, no or nothing, a row: a boolean, 0 or 1, or a word for one of them. The positions of rows
/// with a value that is neither are added to `bad`: taken as either it would change outcomes
/// without a word.
pub(crate) fn flags(array: &ArrayRef, bad: &mut Vec<usize>) -> Result<Vec<Option<bool>>, Error> {
    let mut flags = Vec::with_capacity(array.len());
    each_text(array, |text| {
        let text = text.map(str::trim).filter(|text| !text.is_empty());
        // A probability between the two is the one of an open stage, and neither.
        let is_between = |text: &str| text.parse().is_ok_and(|p: f64| 0.0 < p && p < 1.0);
        let known = text.and_then(flag);
        if known.is_none() && text.is_some_and(|text| !is_between(text)) {
            bad.push(flags.len());
        }
        flags.push(known);
        Ok(())
    })?;
    Ok(flags)
}

/// That a value is neither yes nor no, where that cannot be; without a place.
pub(crate) fn no_flag(text: &str) -> Error {
    Error::Faults(vec![Fault {
        file: PathBuf::new(),
        place: String::new(),
        problem: format!("holds {text:?}, which is neither yes nor no"),
        hint: "write true or false, yes or no, 1 or 0".into(),
    }])
}

/// A word for yes or no; a probability of 1.0 or 0.0 is one, too, which is how some systems tell won
/// stages from lost ones.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" | "1.0" | "on" | "wahr" | "ja" | "vrai" | "oui" | "是" => {
            Some(true)
        }
        "false" | "f" | "no" | "n" | "0" | "0.0" | "off" | "falsch" | "nein" | "faux" | "non"
        | "否" => Some(false),
        _ => None,
    }
}

/// One value as an instant; [`BAD_INSTANT`] where it is none, or has no zone and none is declared.
/// Thirteen digits are milliseconds since the epoch.
pub(crate) fn instant(text: &str, clock: &Clock) -> Instant {
    let text = text.trim();
    if text.len() == 13
        && let Ok(millis) = text.parse::<i64>()
    {
        return millis.saturating_mul(1_000);
    }
    match parse_instant(text, clock) {
        ZONE_UNKNOWN => BAD_INSTANT,
        at => at,
    }
}

/// One value as a civil day of the reporting zone; [`NO_DAY`] where it is none.
pub(crate) fn day(text: &str, clock: &Clock) -> Day {
    let text = text.trim();
    let at = instant(text, clock);
    if is_plausible(at) {
        return clock.reporting.day(at);
    }
    // A time without a zone has a day all the same.
    let date = text.get(..10).and_then(|t| chrono::NaiveDate::parse_from_str(t, "%Y-%m-%d").ok());
    let day = date.map_or(NO_DAY, crate::time::from_date);
    if is_plausible_day(day) { day } else { NO_DAY }
}

/// Whole numbers; `i64::MIN` for null or unreadable.
pub(crate) fn integers(array: &ArrayRef) -> Result<Vec<i64>, Error> {
    let ints = wide_integers(array)?;
    Ok(ints.as_primitive::<Int64Type>().iter().map(|v| v.unwrap_or(i64::MIN)).collect())
}

/// Money in minor units; [`NO_AMOUNT`] for null, [`BAD_AMOUNT`] for unreadable. The second value is
/// which rows, ascending, were not within a millionth of a minor unit and had to be rounded.
pub(crate) fn money(
    array: &ArrayRef,
    currency: &Currency,
    mark: DecimalMark,
) -> Result<(Vec<i64>, Vec<usize>), Error> {
    if let Some(amounts) = plain_money(array, currency) {
        return Ok((amounts, Vec::new()));
    }
    let mut inexact = Vec::new();
    let mut settle = |row: usize, converted: Option<Option<(i64, bool)>>| match converted {
        Some(Some((minor, exact))) => {
            if !exact {
                inexact.push(row);
            }
            minor
        }
        Some(None) => BAD_AMOUNT,
        None => NO_AMOUNT,
    };
    let factor = currency.factor();
    let amounts = match array.data_type() {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale) => {
            let scale = *scale;
            let wide = cast(array, &DataType::Decimal128(38, scale)).map_err(cast_error)?;
            let wide = wide.as_primitive::<Decimal128Type>();
            let convert = |v| money::from_decimal(v, scale, currency.scale);
            wide.iter().enumerate().map(|(row, v)| settle(row, v.map(convert))).collect()
        }
        t if t.is_integer() => {
            let whole = cast(array, &DataType::Int64).map_err(cast_error)?;
            let whole = whole.as_primitive::<Int64Type>();
            let convert = |v: i64| money::from_decimal(i128::from(v), 0, currency.scale);
            whole.iter().enumerate().map(|(row, v)| settle(row, v.map(convert))).collect()
        }
        t if t.is_floating() => {
            let floats = cast(array, &DataType::Float64).map_err(cast_error)?;
            let floats = floats.as_primitive::<Float64Type>();
            let convert = |v| money::from_float(v, factor);
            floats.iter().enumerate().map(|(row, v)| settle(row, v.map(convert))).collect()
        }
        _ => {
            let mut parsed = Vec::with_capacity(array.len());
            each_text(array, |text| {
                let text = text.map(str::trim).filter(|t| !t.is_empty());
                let minor = text.map(|t| money::from_text(t, currency.scale, mark));
                parsed.push(settle(parsed.len(), minor));
                Ok(())
            })?;
            parsed
        }
    };
    Ok((amounts, inexact))
}

/// Decimals of the currency's own scale, none of them too large: they are minor units already.
fn plain_money(array: &ArrayRef, currency: &Currency) -> Option<Vec<i64>> {
    let DataType::Decimal64(_, scale) = array.data_type() else { return None };
    if i32::from(*scale) != i32::from(currency.scale) {
        return None;
    }
    let decimals = array.as_primitive::<Decimal64Type>();
    let is_amount = |v: &i64| (-MAX_AMOUNT..=MAX_AMOUNT).contains(v);
    if !decimals.values().iter().fold(true, |all, v| all & is_amount(v)) {
        return None;
    }
    Some(if decimals.null_count() == 0 {
        decimals.values().to_vec()
    } else {
        decimals.iter().map(|v| v.unwrap_or(NO_AMOUNT)).collect()
    })
}

/// The value of one row as text, for the quarantine.
pub(crate) fn display(array: Option<&ArrayRef>, row: usize) -> Option<String> {
    let array = array?;
    if array.is_null(row) {
        return None;
    }
    arrow::util::display::array_value_to_string(array, row).ok()
}
