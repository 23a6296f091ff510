//! Shape `stages`: the registry of stages, which says what stages there are, their order and class.
//!
//! What stands under `[pipeline]` and `[pipelines]` goes over it. Where it names several pipelines,
//! and `[pipeline]` lists no stages, each is a pipeline of its own. A stage may have several rows, each
//! valid from another time on: its class is that of an event's time, its place the latest by `as_of`.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::ArrayRef;

use super::convert::{self, BAD_INSTANT};
use super::probability::{self, Span, in_millionths, unit_hint};
use super::read::{CheckedInput, Unit};
use super::rows::Standing;
use super::sheet::texts;
use super::{clock, wanted_columns};
use crate::config::{Config, Input, Pipeline, Shape};
use crate::contract::{BAD_PROBABILITY, DEFAULT_PIPELINE, NO_PROBABILITY, STAGES, StageClass};
use crate::error::{Error, Fault};
use crate::quality::{Counts, Examples, Ledger, QuarantinedRow, Rule};
use crate::time::{Calendar, Instant};

/// The checked files of a registry.
pub struct Registry {
    /// The files.
    pub checked: CheckedInput,
    input: Input,
}

/// One stage as it stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    id: String,
    pipeline: Option<String>,
    /// Its other names.
    names: Vec<String>,
    /// Its place; [`i64::MIN`] if none is given.
    order: i64,
    class: StageClass,
    /// From when on the row holds; from the beginning where nothing says so.
    from: Instant,
    /// The chance of winning there, in millionths.
    probability: i32,
    /// Of a stage whose class changes: from when on it has which.
    dated: Vec<(Instant, StageClass)>,
}

/// A row of a batch by its place, or the rule that it breaks.
type Judged = (usize, Result<Row, Rule>);

impl Registry {
    /// Lists and checks the files; `None` if the configuration has no registry.
    ///
    /// # Errors
    /// Everything that is wrong with the files, collected.
    pub fn open(config: &Config, calendar: Calendar) -> Result<Option<Self>, Error> {
        let Some((name, input)) = config.inputs.iter().find(|(_, i)| i.shape == Shape::Stages)
        else {
            return Ok(None);
        };
        let mut input = input.clone();
        probability::hide_unsaid(&mut input);
        let wanted = wanted_columns(&input, STAGES);
        let checked = CheckedInput::open(name, &input, &wanted, clock(name, &input, calendar)?)?;
        Ok(Some(Self { checked, input }))
    }

    /// Brings what the registry adds into the pipelines of the configuration.
    ///
    /// Definition: a stage that the configuration names, by its id or another name, stays what it is
    /// there. Others get the class of the registry; open ones only where the pipeline lists no
    /// stages, in the registry's order, because a list in the configuration is the whole order.
    ///
    /// # Errors
    /// Files that cannot be decoded; classes that there are not; no open stage at all.
    pub fn complete(
        &self,
        config: &mut Config,
        as_of: Option<Instant>,
        ledger: &Ledger,
    ) -> Result<(), Error> {
        let rows = self.rows(config, as_of, ledger)?;
        let named: BTreeSet<&String> = rows.iter().filter_map(|r| r.pipeline.as_ref()).collect();
        let lists_stages = !config.pipeline.stages.is_empty();
        if config.pipelines.is_empty() && (lists_stages || named.len() < 2) {
            config.pipeline = merge(&config.pipeline, rows);
        } else {
            let mut by_pipeline: BTreeMap<Option<String>, Vec<Row>> = BTreeMap::new();
            for row in rows {
                let is_rest = lists_stages && row.pipeline.as_deref() == Some(DEFAULT_PIPELINE);
                let name = row.pipeline.clone().filter(|_| !is_rest);
                by_pipeline.entry(name).or_default().push(row);
            }
            let rest = config.pipeline.clone();
            for (name, rows) in by_pipeline {
                let Some(name) = name else {
                    config.pipeline = merge(&rest, rows);
                    continue;
                };
                let own = config.pipelines.get(&name).cloned();
                let own = own.unwrap_or_else(|| of_rows(&rest, &rows));
                config.pipelines.insert(name, merge(&own, rows));
            }
        }
        let mut all = config.pipelines.values().chain([&config.pipeline]);
        if all.all(|pipeline| pipeline.stages.is_empty()) {
            let hint = "map its columns in [inputs.stages.columns], its classes in \
                        [inputs.stages.values], or list the stages under [pipeline]";
            return Err(self.fault("has no open stage".into(), hint));
        }
        Ok(())
    }

    fn fault(&self, problem: String, hint: &str) -> Error {
        let (file, place) = (self.checked.root().to_path_buf(), "column \"class\"".to_owned());
        Error::Faults(vec![Fault { file, place, problem, hint: hint.into() }])
    }

    /// One row a stage, in order.
    fn rows(
        &self,
        config: &Config,
        as_of: Option<Instant>,
        ledger: &Ledger,
    ) -> Result<Vec<Row>, Error> {
        let is_one = config.pipelines.is_empty() && !config.pipeline.stages.is_empty();
        let mut rows: Vec<Row> = Vec::new();
        let (mut counts, mut examples) = (Counts::default(), Examples::default());
        for unit in self.checked.units() {
            self.checked.read(&unit, |arrays, first_row| {
                let read = self.batch(&unit, arrays, &config.pipeline)?;
                counts.rows_in += read.len() as u64;
                counts.folded += read.len() as u64;
                for (place, row) in read {
                    let is_same = |known: &Row, row: &Row| {
                        let of_one = is_one || known.pipeline == row.pipeline;
                        known.id == row.id && known.from == row.from && of_one
                    };
                    match row {
                        Err(rule) => {
                            counts.add(rule, 1);
                            let (file, at) = (self.checked.path(&unit), first_row + place as u64);
                            if examples.wants(rule) {
                                let found = QuarantinedRow::of_fold(file.into(), at, rule);
                                examples.add(rule, found);
                            }
                        }
                        Ok(row) if rows.iter().any(|known| is_same(known, &row)) => {
                            counts.add(Rule::DuplicateKeys, 1);
                            ledger.mention(Rule::DuplicateKeys, &self.checked.name, &row.id, 1);
                        }
                        Ok(row) => rows.push(row),
                    }
                }
                Ok(())
            })?;
        }
        self.settle_probabilities(&mut rows, &mut counts)?;
        ledger.record(&self.checked.name, &counts);
        ledger.exemplify(&self.checked.name, examples);
        self.checked.settle_refused(ledger);
        let mut rows = one_a_stage(rows, is_one, as_of.unwrap_or(Instant::MAX));
        // Stable, so that rows without an order stay as they are.
        rows.sort_by_key(|row| row.order);
        Ok(rows)
    }

    /// Brings the chances of winning into one unit.
    fn settle_probabilities(&self, rows: &mut [Row], counts: &mut Counts) -> Result<(), Error> {
        let mut span = Span::default();
        rows.iter().for_each(|row| span.note(&[row.probability]));
        let unit = span.unit(self.input.probability_unit).map_err(|problem| {
            let (file, place) = (self.checked.root().to_path_buf(), "column \"probability\"");
            let hint = unit_hint(&self.checked.name);
            Error::Faults(vec![Fault { file, place: place.into(), problem, hint }])
        })?;
        for row in rows {
            row.probability = in_millionths(row.probability, unit);
            if row.probability == BAD_PROBABILITY {
                row.probability = NO_PROBABILITY;
                counts.add(Rule::BadProbability, 1);
            }
        }
        Ok(())
    }

    /// The rows of a batch that are of the pipelines asked for, or the rule that one breaks, each
    /// with its place.
    fn batch(
        &self,
        unit: &Unit,
        arrays: &[Option<ArrayRef>],
        pipeline: &Pipeline,
    ) -> Result<Vec<Judged>, Error> {
        let at = |name: &str| STAGES.iter().position(|column| column.name == name);
        let get = |name: &str| arrays.get(at(name)?)?.as_ref();
        let column = |name: &str| match get(name) {
            Some(array) => texts(array, self.input.values.get(name)),
            None => Ok(Vec::new()),
        };
        let instants = |name: &str| match (at(name), get(name)) {
            (Some(index), Some(array)) => self.checked.instants(unit, index, array),
            _ => Ok(Vec::new()),
        };
        let (ids, classes, pipelines) =
            (column("stage_id")?, column("class")?, column("pipeline_id")?);
        let (names, aliases) = (column("stage_name")?, column("aliases")?);
        let (closed, won) = (self.flags(get("is_closed"))?, self.flags(get("is_won"))?);
        let (from, to) = (instants("valid_from")?, instants("valid_to")?);
        let chances = get("probability").map(|a| probability::decode(a, self.checked.decimal));
        let chances = chances.transpose()?.unwrap_or_default();
        let orders = get("stage_order").map(convert::integers).transpose()?.unwrap_or_default();
        let mut rows = Vec::with_capacity(ids.len());
        for (place, id) in ids.into_iter().enumerate() {
            let of = |column: &[Option<String>]| column.get(place).cloned().flatten();
            let own = of(&pipelines);
            let is_wanted = |own: &String| pipeline.only.is_empty() || pipeline.only.contains(own);
            if !own.as_ref().is_none_or(is_wanted) {
                continue;
            }
            let flag = |flags: &[Option<bool>]| flags.get(place).copied().flatten();
            let class = self.class(of(&classes), flag(&closed), flag(&won))?;
            let further = of(&aliases).unwrap_or_default();
            let split = further.split('|').map(str::trim).filter(|name| !name.is_empty());
            let names = of(&names).into_iter().chain(split.map(str::to_owned)).collect();
            let order = orders.get(place).copied().unwrap_or(i64::MIN);
            let from = begin(from.get(place).copied(), to.get(place).copied());
            let row = match (id, from) {
                (None, _) => Err(Rule::RowsWithoutKey),
                (_, None) => Err(Rule::BadValidity),
                (Some(id), Some(from)) => {
                    let probability = chances.get(place).copied().unwrap_or(NO_PROBABILITY);
                    let (pipeline, dated) = (own, Vec::new());
                    Ok(Row { id, pipeline, names, order, class, from, probability, dated })
                }
            };
            rows.push((place, row));
        }
        Ok(rows)
    }

    fn flags(&self, array: Option<&ArrayRef>) -> Result<Vec<Option<bool>>, Error> {
        let read = |array: &ArrayRef| {
            let mut bad = Vec::new();
            let flags = convert::flags(array, &mut bad)?;
            let text = bad.first().map(|row| convert::display(Some(array), *row));
            text.map_or(Ok(flags), |text| Err(convert::no_flag(&text.unwrap_or_default())))
        };
        let flags = array.map(read).transpose();
        let flags = flags.map_err(|error| match error {
            Error::Faults(mut faults) => {
                for fault in &mut faults {
                    fault.file = self.checked.root().to_path_buf();
                    fault.place = "columns \"is_closed\" and \"is_won\"".into();
                }
                Error::Faults(faults)
            }
            other => other,
        })?;
        Ok(flags.unwrap_or_default())
    }

    fn class(
        &self,
        name: Option<String>,
        is_closed: Option<bool>,
        is_won: Option<bool>,
    ) -> Result<StageClass, Error> {
        Ok(match name.map(|name| name.to_ascii_lowercase()).as_deref() {
            None => match Standing::of_flags(is_closed, is_won) {
                Standing::Won => StageClass::Won,
                Standing::Lost => StageClass::Lost,
                _ => StageClass::Open,
            },
            Some("open") => StageClass::Open,
            Some("won") => StageClass::Won,
            Some("lost") => StageClass::Lost,
            Some("ignored") => StageClass::Ignored,
            Some(other) => {
                let hint = "map it in [inputs.stages.values]: class = { \"…\" = \"won\" }";
                let problem = format!("holds {other:?}, which is not a class");
                return Err(self.fault(problem, hint));
            }
        })
    }
}

/// From when on a row holds; `None` if that cannot be read, or the row ends before it.
fn begin(from: Option<Instant>, to: Option<Instant>) -> Option<Instant> {
    if from == Some(BAD_INSTANT) || to == Some(BAD_INSTANT) {
        return None;
    }
    let from = from.filter(|at| convert::is_plausible(*at) && *at != 0).unwrap_or(Instant::MIN);
    let to = to.filter(|at| convert::is_plausible(*at) && *at != 0).unwrap_or(Instant::MAX);
    (from < to).then_some(from)
}

/// The rows of a stage that hold one after the other as one: where it is by `as_of` and, if that
/// changes, what its class was when. One that was ever open has the place that it then had.
fn one_a_stage(rows: Vec<Row>, is_one: bool, as_of: Instant) -> Vec<Row> {
    let mut stages: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        let is_same = |known: &&mut Vec<Row>| {
            let same = |r: &Row| r.id == row.id && (is_one || r.pipeline == row.pipeline);
            known.first().is_some_and(same)
        };
        match stages.iter_mut().find(is_same) {
            Some(known) => known.push(row),
            None => stages.push(vec![row]),
        }
    }
    let one = |mut rows: Vec<Row>| {
        rows.sort_by_key(|row| row.from);
        let dated: Vec<(Instant, StageClass)> = rows.iter().map(|r| (r.from, r.class)).collect();
        let names: Vec<String> = rows.iter().flat_map(|row| row.names.clone()).collect();
        let is_open = |row: &&Row| row.class == StageClass::Open;
        let by_then = || rows.iter().rev().filter(|row| row.from <= as_of);
        let of_open = by_then().find(is_open).or_else(|| rows.iter().find(is_open));
        let mut row = of_open.or_else(|| by_then().next()).or(rows.first())?.clone();
        if dated.iter().any(|(_, class)| *class != row.class) {
            row.dated = dated;
        }
        Some(Row { names, ..row })
    };
    stages.into_iter().filter_map(one).collect()
}

/// What `[pipeline]`, which lists no stages, says of the stages that a pipeline of the registry has.
fn of_rows(pipeline: &Pipeline, rows: &[Row]) -> Pipeline {
    let is_there =
        |name: &&String| rows.iter().any(|row| row.id == **name || row.names.contains(name));
    let own = |names: &[String]| names.iter().filter(is_there).cloned().collect::<Vec<_>>();
    let mut narrowed = Pipeline {
        won: own(&pipeline.won),
        lost: own(&pipeline.lost),
        ignored: own(&pipeline.ignored),
        ..Pipeline::default()
    };
    let kept = [&narrowed.won, &narrowed.lost, &narrowed.ignored];
    let is_kept = |stage: &String| kept.iter().any(|names| names.contains(stage));
    let is_alias = |(_, stage): &(&String, &String)| is_kept(stage) || is_there(stage);
    let aliases = pipeline.aliases.iter().filter(is_alias);
    narrowed.aliases = aliases.map(|(alias, stage)| (alias.clone(), stage.clone())).collect();
    narrowed
}

/// Adds the stages of a registry, in their order, to a pipeline.
fn merge(configured: &Pipeline, rows: Vec<Row>) -> Pipeline {
    let mut merged = configured.clone();
    let lists_stages = !configured.stages.is_empty();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let all = [&configured.stages, &configured.won, &configured.lost, &configured.ignored];
    for name in all.into_iter().flatten() {
        known.insert(name.clone(), name.clone());
    }
    known.extend(configured.aliases.clone());
    let ids: Vec<String> = rows.iter().map(|row| row.id.clone()).collect();
    for row in rows {
        let every = || std::iter::once(&row.id).chain(&row.names);
        let stage = match every().find_map(|name| known.get(name)).cloned() {
            Some(stage) => stage,
            None => {
                match row.class {
                    // A list in the configuration is the whole order.
                    StageClass::Open if lists_stages => continue,
                    StageClass::Open => merged.stages.push(row.id.clone()),
                    StageClass::Won => merged.won.push(row.id.clone()),
                    StageClass::Lost => merged.lost.push(row.id.clone()),
                    StageClass::Ignored | StageClass::Unknown => {
                        merged.ignored.push(row.id.clone());
                    }
                }
                if !row.dated.is_empty() {
                    merged.dated.insert(row.id.clone(), row.dated.clone());
                }
                row.id.clone()
            }
        };
        if row.probability != NO_PROBABILITY {
            merged.probability.insert(stage.clone(), row.probability);
        }
        for name in every() {
            // Another stage's id is no name of this one.
            let is_other = *name != row.id && ids.contains(name);
            if !is_other && *name != stage && !known.contains_key(name) {
                merged.aliases.insert(name.clone(), stage.clone());
            }
            if !is_other {
                known.entry(name.clone()).or_insert_with(|| stage.clone());
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, names: &[&str], class: StageClass) -> Row {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Row {
            id: id.into(),
            pipeline: None,
            names,
            order: 0,
            class,
            from: Instant::MIN,
            probability: NO_PROBABILITY,
            dated: Vec::new(),
        }
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_registry_alone_gives_order_classes_and_aliases() {
        let rows = vec![
            row("10", &["Lead"], StageClass::Open),
            row("20", &["Offer", "Quote"], StageClass::Open),
            row("90", &["Closed Won"], StageClass::Won),
            row("91", &[], StageClass::Lost),
            row("99", &[], StageClass::Ignored),
        ];
        let merged = merge(&Pipeline::default(), rows);
        assert_eq!(merged.stages, ["10", "20"]);
        assert_eq!((merged.won, merged.lost), (list(&["90"]), list(&["91"])));
        assert_eq!(merged.ignored, ["99"]);
        let alias = |name: &str| merged.aliases.get(name).map(String::as_str);
        assert_eq!((alias("Lead"), alias("Quote")), (Some("10"), Some("20")));
        assert_eq!(alias("Closed Won"), Some("90"));
    }

    #[test]
    fn a_listed_pipeline_keeps_its_order_and_takes_names_and_closed_stages() {
        let configured =
            Pipeline { stages: list(&["Offer", "10"]), won: list(&["90"]), ..Pipeline::default() };
        let rows = vec![
            row("10", &["Lead"], StageClass::Open),
            row("20", &["Offer"], StageClass::Open),
            row("30", &["Forgotten"], StageClass::Open),
            row("90", &[], StageClass::Lost),
            row("91", &[], StageClass::Lost),
        ];
        let merged = merge(&configured, rows);
        assert_eq!(merged.stages, ["Offer", "10"]);
        assert_eq!((merged.won, merged.lost), (list(&["90"]), list(&["91"])));
        let expected = [("20", "Offer"), ("Lead", "10")];
        let expected = expected.map(|(alias, stage)| (alias.to_owned(), stage.to_owned()));
        assert_eq!(merged.aliases, BTreeMap::from(expected));
    }
}
