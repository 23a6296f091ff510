//! Shape `stages`: the registry of stages, which says what stages there are, their order and class.
//!
//! What stands under `[pipeline]` goes over it.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use super::convert;
use super::read::CheckedInput;
use super::rows::Standing;
use super::sheet::texts;
use super::{clock, wanted_columns};
use crate::config::{Config, Input, Pipeline, Shape};
use crate::contract::STAGES;
use crate::error::{Error, Fault};
use crate::quality::{Counts, Ledger, Rule};
use crate::time::Calendar;

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
    /// Its other names.
    names: Vec<String>,
    /// Its place; [`i64::MIN`] if none is given.
    order: i64,
    class: Class,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Open,
    Won,
    Lost,
    Ignored,
}

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
        let wanted = wanted_columns(input, STAGES);
        let checked = CheckedInput::open(name, input, &wanted, clock(name, input, calendar)?)?;
        Ok(Some(Self { checked, input: input.clone() }))
    }

    /// The pipeline of the configuration with what the registry adds to it.
    ///
    /// Definition: a stage that `[pipeline]` names, by its id or another name, stays what it is
    /// there. Others get the class of the registry; open ones only where `[pipeline]` lists no
    /// stages, in the registry's order, because a list in the configuration is the whole order.
    ///
    /// # Errors
    /// Files that cannot be decoded; classes that there are not; no open stage at all.
    pub fn pipeline(&self, config: &Config, ledger: &Ledger) -> Result<Pipeline, Error> {
        let rows = self.rows(&config.pipeline, ledger)?;
        let merged = merge(&config.pipeline, rows);
        if merged.stages.is_empty() {
            let hint = "map its columns in [inputs.stages.columns], its classes in \
                        [inputs.stages.values], or list the stages under [pipeline]";
            return Err(self.fault("has no open stage".into(), hint));
        }
        Ok(merged)
    }

    fn fault(&self, problem: String, hint: &str) -> Error {
        let (file, place) = (self.checked.root().to_path_buf(), "column \"class\"".to_owned());
        Error::Faults(vec![Fault { file, place, problem, hint: hint.into() }])
    }

    fn rows(&self, pipeline: &Pipeline, ledger: &Ledger) -> Result<Vec<Row>, Error> {
        let mut rows: Vec<Row> = Vec::new();
        let mut counts = Counts::default();
        for unit in self.checked.units() {
            self.checked.read(&unit, |arrays, _| {
                let read = self.batch(arrays, pipeline)?;
                counts.rows_in += read.len() as u64;
                counts.folded += read.len() as u64;
                for row in read {
                    match row {
                        None => counts.add(Rule::RowsWithoutKey, 1),
                        Some(row) if rows.iter().any(|known| known.id == row.id) => {
                            counts.add(Rule::DuplicateKeys, 1);
                        }
                        Some(row) => rows.push(row),
                    }
                }
                Ok(())
            })?;
        }
        ledger.record(&self.checked.name, &counts);
        self.checked.settle_refused(ledger);
        // Stable, so that rows without an order stay as they are.
        rows.sort_by_key(|row| row.order);
        Ok(rows)
    }

    /// The rows of a batch that are of the pipelines asked for; `None` for one without an id.
    fn batch(
        &self,
        arrays: &[Option<ArrayRef>],
        pipeline: &Pipeline,
    ) -> Result<Vec<Option<Row>>, Error> {
        let at = |name: &str| STAGES.iter().position(|column| column.name == name);
        let get = |name: &str| arrays.get(at(name)?)?.as_ref();
        let column = |name: &str| match get(name) {
            Some(array) => texts(array, self.input.values.get(name)),
            None => Ok(Vec::new()),
        };
        let (ids, classes, pipelines) =
            (column("stage_id")?, column("class")?, column("pipeline_id")?);
        let (names, aliases) = (column("stage_name")?, column("aliases")?);
        let flags = |name: &str| {
            let flags = get(name).map(convert::flags).transpose();
            flags.map_err(|error| match error {
                Error::Faults(mut faults) => {
                    for fault in &mut faults {
                        fault.file = self.checked.root().to_path_buf();
                        fault.place = format!("column {name:?}");
                    }
                    Error::Faults(faults)
                }
                other => other,
            })
        };
        let (closed, won) =
            (flags("is_closed")?.unwrap_or_default(), flags("is_won")?.unwrap_or_default());
        let orders = get("stage_order").map(convert::integers).transpose()?.unwrap_or_default();
        let mut rows = Vec::with_capacity(ids.len());
        for (place, id) in ids.into_iter().enumerate() {
            let of = |column: &[Option<String>]| column.get(place).cloned().flatten();
            let own = of(&pipelines);
            if own.is_some_and(|own| !pipeline.only.is_empty() && !pipeline.only.contains(&own)) {
                continue;
            }
            let class = match of(&classes).map(|name| name.to_ascii_lowercase()).as_deref() {
                None => {
                    let flag = |flags: &[Option<bool>]| flags.get(place).copied().flatten();
                    match Standing::of_flags(flag(&closed), flag(&won)) {
                        Standing::Won => Class::Won,
                        Standing::Lost => Class::Lost,
                        _ => Class::Open,
                    }
                }
                Some("open") => Class::Open,
                Some("won") => Class::Won,
                Some("lost") => Class::Lost,
                Some("ignored") => Class::Ignored,
                Some(other) => {
                    let hint = "map it in [inputs.stages.values]: class = { \"…\" = \"won\" }";
                    let problem = format!("holds {other:?}, which is not a class");
                    return Err(self.fault(problem, hint));
                }
            };
            let further = of(&aliases).unwrap_or_default();
            let split = further.split('|').map(str::trim).filter(|name| !name.is_empty());
            let names = of(&names).into_iter().chain(split.map(str::to_owned)).collect();
            let order = orders.get(place).copied().unwrap_or(i64::MIN);
            rows.push(id.map(|id| Row { id, names, order, class }));
        }
        Ok(rows)
    }
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
                    Class::Open if lists_stages => continue,
                    Class::Open => merged.stages.push(row.id.clone()),
                    Class::Won => merged.won.push(row.id.clone()),
                    Class::Lost => merged.lost.push(row.id.clone()),
                    Class::Ignored => merged.ignored.push(row.id.clone()),
                }
                row.id.clone()
            }
        };
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

    fn row(id: &str, names: &[&str], class: Class) -> Row {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Row { id: id.into(), names, order: 0, class }
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_registry_alone_gives_order_classes_and_aliases() {
        let rows = vec![
            row("10", &["Lead"], Class::Open),
            row("20", &["Offer", "Quote"], Class::Open),
            row("90", &["Closed Won"], Class::Won),
            row("91", &[], Class::Lost),
            row("99", &[], Class::Ignored),
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
            row("10", &["Lead"], Class::Open),
            row("20", &["Offer"], Class::Open),
            row("30", &["Forgotten"], Class::Open),
            row("90", &[], Class::Lost),
            row("91", &[], Class::Lost),
        ];
        let merged = merge(&configured, rows);
        assert_eq!(merged.stages, ["Offer", "10"]);
        assert_eq!((merged.won, merged.lost), (list(&["90"]), list(&["91"])));
        let expected = [("20", "Offer"), ("Lead", "10")];
        let expected = expected.map(|(alias, stage)| (alias.to_owned(), stage.to_owned()));
        assert_eq!(merged.aliases, BTreeMap::from(expected));
    }
}
