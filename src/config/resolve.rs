//! The configuration in the form the program works with: zone, instant, currency and slices
//! parsed, paths joined, defaults filled in. Whoever holds a [`Resolved`] need not check again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;

use super::inputs::{FX_RATES, key_of, shape_by_name};
use super::places::{Places, Problems};
use super::{Config, Input, MoneyPolicy, Shape, TableOptions, fiscal, tables, validate};
use crate::error::{Error, nearest_names};
use crate::money::Currency;
use crate::spill::{Spilling, parse_size};
use crate::time::{Calendar, Day, Instant, Period, from_date};

/// A configuration that can be run.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The merged configuration as written; its paths are not yet joined.
    pub config: Config,
    /// Zone, week and fiscal year.
    pub calendar: Calendar,
    /// The reporting currency.
    pub currency: Currency,
    /// As what amounts are read: as the reporting currency, or with more digits where they are
    /// still to be converted.
    pub native: Currency,
    /// The day of `[money] constant_date`, where one is given.
    pub constant_day: Option<Day>,
    /// The last instant that exists; `None` = the latest event in the data.
    pub as_of: Option<Instant>,
    /// When the history begins, if deals can have begun before it.
    pub history_from: Option<Instant>,
    /// Reporting periods without repetition and without the whole history, which is always there.
    pub periods: Vec<Period>,
    /// Sets of dimensions to report by, each in the order of `[dimensions] columns`, no two equal.
    pub slices: Vec<Vec<String>>,
    /// What single tables report by instead, in the same form.
    pub tables: BTreeMap<String, TableOptions>,
    /// Inputs by name.
    pub inputs: BTreeMap<String, ResolvedInput>,
    /// Output folder.
    pub output: PathBuf,
    /// Bound on memory in bytes, where one is given.
    pub memory_limit: Option<u64>,
    /// Folder for what does not fit into memory, where one is given.
    pub scratch: Option<PathBuf>,
    /// When what can be spilled is; no key sets it.
    pub spilling: Spilling,
    /// blake3, as hex, of everything in the configuration that can change a number or a file:
    /// independent of output folder, threads, shards, memory limit, scratch folder, table selection
    /// and runs kept.
    pub hash: String,
}

/// An input whose path is joined and whose zone is known to exist.
#[derive(Debug, Clone)]
pub struct ResolvedInput {
    /// Folder, file or glob; relative ones are joined to the folder of the configuration file.
    pub path: PathBuf,
    /// As configured; an input named `spend`, `users` and the like always has the shape of its name,
    /// and a look-up table its key.
    pub declared: Input,
}

impl Resolved {
    /// The horizons of win rates in days, each once, ascending.
    #[must_use]
    pub fn horizons_days(&self) -> Vec<i64> {
        let given: BTreeSet<i64> =
            self.config.run.horizons_days.iter().map(|days| i64::from(*days)).collect();
        given.into_iter().collect()
    }

    /// Every period length that some table reports, without repetition and the whole history.
    #[must_use]
    pub fn every_period(&self) -> Vec<Period> {
        let own = self.tables.values().filter_map(|table| table.periods.as_ref()).flatten();
        distinct_periods(self.periods.iter().chain(own))
    }

    /// The configuration with the paths of its inputs joined and their shapes settled.
    #[must_use]
    pub fn with_joined_paths(&self) -> Config {
        let mut config = self.config.clone();
        for (name, input) in &self.inputs {
            let joined = Input { path: input.path.clone(), ..input.declared.clone() };
            config.inputs.insert(name.clone(), joined);
        }
        config
    }
}

/// Checks everything and resolves it.
pub(super) fn resolve(
    config: Config,
    base: &Path,
    output: PathBuf,
    places: &Places,
) -> Result<Resolved, Error> {
    let mut problems = Problems::new(places);
    validate::check(&config, &mut problems);
    let calendar = calendar(&config, &mut problems);
    let as_of = as_of(&config, &calendar, &mut problems);
    let history_from = history_from(&config, &calendar, &mut problems);
    let currency = currency(&config, &mut problems);
    let native = native(&config, &currency);
    let constant_day = constant_day(&config, &mut problems);
    let inputs = inputs(&config, base, &mut problems);
    let memory_limit = memory_limit(&config, &mut problems);
    problems.into_result()?;
    let mut resolved = Resolved {
        calendar,
        currency,
        native,
        constant_day,
        as_of,
        history_from,
        periods: distinct_periods(&config.run.periods),
        slices: slices(&config),
        tables: tables::resolve(&config),
        inputs,
        output,
        memory_limit,
        scratch: config.run.scratch.as_ref().map(|folder| base.join(folder)),
        spilling: Spilling::AsNeeded,
        hash: String::new(),
        config,
    };
    resolved.hash = hash(&resolved)?;
    Ok(resolved)
}

fn calendar(config: &Config, problems: &mut Problems<'_>) -> Calendar {
    let run = &config.run;
    let zone = zone("run.timezone", &run.timezone, problems).unwrap_or(Tz::UTC);
    if !(1..=12).contains(&run.fiscal_start_month) {
        let found = run.fiscal_start_month;
        problems.add("run.fiscal_start_month", format!("expected 1 to 12, found {found}"));
    }
    Calendar {
        zone,
        week_start: run.week_start as u8,
        fiscal_start_month: run.fiscal_start_month.clamp(1, 12),
        fiscal_weeks: fiscal::weeks(run),
    }
}

fn zone(key: &str, name: &str, problems: &mut Problems<'_>) -> Option<Tz> {
    if let Ok(zone) = name.parse() {
        return Some(zone);
    }
    let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
    problems.add(key, format!("unknown zone {name:?}{}", did_you_mean(name, known)));
    None
}

/// `, did you mean "x"?`, or nothing.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let nearest = nearest_names(name, known);
    nearest.first().map_or_else(String::new, |best| format!(", did you mean {best:?}?"))
}

/// An instant, or the last microsecond of a civil day of the reporting zone.
fn as_of(config: &Config, calendar: &Calendar, problems: &mut Problems<'_>) -> Option<Instant> {
    let text = config.run.as_of.as_deref()?.trim();
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp_micros());
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(calendar.instant(from_date(date) + 1) - 1);
    }
    problems.add("run.as_of", no_instant(text));
    None
}

fn no_instant(text: &str) -> String {
    format!(
        "expected a date such as 2024-12-31 or an instant with its offset such as \
         2025-01-01T00:00:00Z, found {text:?}"
    )
}

/// An instant, or the first one of a civil day of the reporting zone.
fn history_from(
    config: &Config,
    calendar: &Calendar,
    problems: &mut Problems<'_>,
) -> Option<Instant> {
    let text = config.run.history_from.as_deref()?.trim();
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.timestamp_micros());
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(calendar.instant(from_date(date)));
    }
    problems.add("run.history_from", no_instant(text));
    None
}

fn memory_limit(config: &Config, problems: &mut Problems<'_>) -> Option<u64> {
    let text = config.run.memory_limit.as_deref()?;
    match parse_size(text) {
        Ok(bytes) => Some(bytes),
        Err(problem) => {
            problems.add("run.memory_limit", problem);
            None
        }
    }
}

fn currency(config: &Config, problems: &mut Problems<'_>) -> Currency {
    let code = &config.money.currency;
    Currency::from_code(code).unwrap_or_else(|| {
        let upper = code.to_uppercase();
        let meant = Currency::from_code(&upper)
            .map_or_else(String::new, |c| format!(", did you mean {:?}?", c.code));
        let problem = format!("unknown currency {code:?}{meant}; expected an ISO 4217 code");
        problems.add("money.currency", problem);
        Currency { code: code.clone(), scale: 2 }
    })
}

/// No currency has more minor digits, so that none is lost before the conversion.
const NATIVE_SCALE: u8 = 4;

fn native(config: &Config, currency: &Currency) -> Currency {
    match config.money.policy {
        MoneyPolicy::None => currency.clone(),
        _ => Currency { scale: NATIVE_SCALE.max(currency.scale), ..currency.clone() },
    }
}

/// The day of `[money] constant_date`; a policy and what it needs must both be there.
fn constant_day(config: &Config, problems: &mut Problems<'_>) -> Option<Day> {
    let (policy, date) = (config.money.policy, config.money.constant_date.as_deref());
    let has_rates = config.inputs.contains_key(FX_RATES);
    if policy != MoneyPolicy::None && !has_rates {
        problems.add("money.policy", "rates are missing: add [inputs.fx_rates]");
    }
    match (policy, date) {
        (MoneyPolicy::Constant, None) => {
            problems.add("money.constant_date", "name the day whose rates hold, YYYY-MM-DD");
            None
        }
        (MoneyPolicy::Constant, Some(date)) => match date.parse::<NaiveDate>() {
            Ok(date) => Some(from_date(date)),
            Err(_) => {
                let problem = format!("expected a date such as 2024-12-31, found {date:?}");
                problems.add("money.constant_date", problem);
                None
            }
        },
        (_, Some(_)) => {
            problems.add("money.constant_date", "only policy = \"constant\" has a date");
            None
        }
        (_, None) => None,
    }
}

fn inputs(
    config: &Config,
    base: &Path,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, ResolvedInput> {
    let mut resolved = BTreeMap::new();
    for (name, input) in &config.inputs {
        let key = format!("inputs.{name}.timezone");
        // Read here for its complaints; the source reads it again with the rest of the input's clock.
        if let Some(text) = &input.timezone {
            zone(&key, text, problems);
        }
        let mut declared = input.clone();
        if let Some(shape) = shape_by_name(name).filter(|_| declared.shape == Shape::Events) {
            declared.shape = shape;
        }
        if declared.shape == Shape::Lookup {
            declared.key = key_of(name, input);
        }
        let path = base.join(&input.path);
        resolved.insert(name.clone(), ResolvedInput { path, declared });
    }
    resolved
}

/// Each period length once, without the whole history, which is always there.
pub(super) fn distinct_periods<'a>(given: impl IntoIterator<Item = &'a Period>) -> Vec<Period> {
    let mut periods = Vec::new();
    for period in given {
        if *period != Period::All && !periods.contains(period) {
            periods.push(*period);
        }
    }
    periods
}

fn slices(config: &Config) -> Vec<Vec<String>> {
    let columns = &config.dimensions.columns;
    let Some(given) = &config.dimensions.slices else {
        let each = columns.iter().map(|name| vec![name.clone()]);
        return std::iter::once(Vec::new()).chain(each).collect();
    };
    ordered_slices(columns, given)
}

/// Each set once, its names in the order of the dimensions.
pub(super) fn ordered_slices(columns: &[String], given: &[Vec<String>]) -> Vec<Vec<String>> {
    let mut slices: Vec<Vec<String>> = Vec::new();
    for slice in given {
        let ordered: Vec<String> =
            columns.iter().filter(|name| slice.contains(name)).cloned().collect();
        if !slices.contains(&ordered) {
            slices.push(ordered);
        }
    }
    slices
}

fn hash(resolved: &Resolved) -> Result<String, Error> {
    let defaults = super::Run::default();
    let mut config = resolved.config.clone();
    config.run.output = defaults.output;
    config.run.keep_runs = defaults.keep_runs;
    config.run.threads = defaults.threads;
    config.run.shards = defaults.shards;
    config.run.memory_limit = defaults.memory_limit;
    config.run.scratch = defaults.scratch;
    config.run.only = defaults.only;
    config.run.periods.clone_from(&resolved.periods);
    // Two ways to write one instant are one instant.
    config.run.as_of = resolved.as_of.map(|at| at.to_string());
    config.run.history_from = resolved.history_from.map(|at| at.to_string());
    config.dimensions.slices = Some(resolved.slices.clone());
    config.tables.clone_from(&resolved.tables);
    let json = serde_json::to_vec(&config)
        .map_err(|error| Error::Bug(format!("cannot write the configuration as JSON: {error}")))?;
    Ok(blake3::hash(&json).to_hex().to_string())
}
