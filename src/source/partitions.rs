//! What a file's path says: hive partition keys and values, and the types they are declared to be.
//!
//! A type is never guessed: a value stays the text of the path unless the configuration says what
//! it is, and then a value that is not of that type is refused by name.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use chrono::NaiveDate;

use super::discover::FoundFile;
use crate::config::PartitionType;
use crate::error::{Fault, nearest_names};

/// The null marker that Hive, Spark and their kin write into partition paths.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// A key and its value; `None` is null.
pub(super) type Partition = (String, Option<String>);

/// Partition keys and values of a path below the input's root. A segment is split at its first `=`;
/// both sides are percent-decoded once; the Hive null marker is null, an empty value is empty text.
pub(super) fn parse(below_root: &Path) -> Result<Vec<Partition>, String> {
    let mut partitions: Vec<Partition> = Vec::new();
    let folders = below_root.parent().unwrap_or(Path::new(""));
    for component in folders.components() {
        let Component::Normal(segment) = component else { continue };
        let segment = segment.to_string_lossy();
        let Some((key, value)) = segment.split_once('=') else { continue };
        let (key, value) = (decode(key)?, decode(value)?);
        if key.is_empty() {
            return Err(format!("the folder {segment:?} has an empty partition key"));
        }
        if partitions.iter().any(|(k, _)| *k == key) {
            return Err(format!("the partition key {key:?} occurs twice in its path"));
        }
        partitions.push((key, (value != HIVE_NULL).then_some(value)));
    }
    Ok(partitions)
}

fn decode(text: &str) -> Result<String, String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| format!("{text:?} is not UTF-8 after percent-decoding"))
}

/// Brings the values of declared keys into the form of their type (`int`: `007` is `7`).
///
/// Edge cases: null stays null whatever the type. A key that the paths do not have is a fault of
/// its own, named once.
pub(super) fn settle(
    files: &mut [FoundFile],
    declared: &BTreeMap<String, PartitionType>,
    faults: &mut Vec<Fault>,
) {
    for (key, holds) in declared {
        let lacking = files.iter().find(|f| f.partitions.iter().all(|(k, _)| k != key));
        if let Some(file) = lacking {
            let keys = file.partitions.iter().map(|(k, _)| k.as_str());
            let near = nearest_names(key, keys.clone());
            let have: Vec<&str> = keys.collect();
            let hint = match near.first() {
                Some(best) => format!("did you mean {best:?}?"),
                None => format!("the keys of its path are [{}]", have.join(", ")),
            };
            let problem = "is declared in partitions but is not in the path".to_owned();
            faults.push(fault(file, key, problem, hint));
            continue;
        }
        for file in files.iter_mut() {
            let value = file.partitions.iter_mut().find(|(k, _)| k == key);
            let Some((_, Some(text))) = value else { continue };
            match canonical(text, *holds) {
                Some(settled) => *text = settled,
                None => {
                    let problem = format!("holds {text:?} where {} is expected", meaning(*holds));
                    let hint = "rename the folder, or declare the key as \"string\" in partitions";
                    faults.push(fault(file, key, problem, hint.into()));
                }
            }
        }
    }
}

fn canonical(text: &str, holds: PartitionType) -> Option<String> {
    match holds {
        PartitionType::String => Some(text.to_owned()),
        PartitionType::Int => text.parse::<i64>().ok().map(|n| n.to_string()),
        PartitionType::Date => {
            // chrono takes `2024-1-5` and `+2024-01-05` too; the path says ten characters.
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.to_string();
            (date == text).then_some(date)
        }
    }
}

fn meaning(holds: PartitionType) -> &'static str {
    match holds {
        PartitionType::String => "text",
        PartitionType::Int => "a whole number (\"int\")",
        PartitionType::Date => "a date YYYY-MM-DD (\"date\")",
    }
}

fn fault(file: &FoundFile, key: &str, problem: String, hint: String) -> Fault {
    Fault { file: file.path.clone(), place: format!("partition {key:?}"), problem, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::discover::FileFormat;

    #[track_caller]
    fn check(path: &str, expected: &[(&str, Option<&str>)]) {
        let got = parse(Path::new(path)).unwrap();
        let got: Vec<(&str, Option<&str>)> =
            got.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn partition_values_stay_text() {
        check("zip=007/part.parquet", &[("zip", Some("007"))]);
    }

    #[test]
    fn second_equals_sign_belongs_to_the_value() {
        check("q=a=b/part.parquet", &[("q", Some("a=b"))]);
    }

    #[test]
    fn values_are_percent_decoded_once() {
        check("r=a%2Fb%2541/x.parquet", &[("r", Some("a/b%41"))]);
    }

    #[test]
    fn hive_marker_is_null_and_empty_is_empty() {
        check("a=__HIVE_DEFAULT_PARTITION__/b=/x.parquet", &[("a", None), ("b", Some(""))]);
    }

    #[test]
    fn an_equals_sign_in_the_file_name_is_no_partition() {
        check("plain/a=b.parquet", &[]);
    }

    #[test]
    fn a_repeated_key_is_refused() {
        assert!(parse(Path::new("a=1/a=2/x.parquet")).is_err());
    }

    /// Declares `k` as a type, with this value in the path: the settled value or the fault.
    #[track_caller]
    fn check_declared(value: &str, holds: PartitionType, expected: Result<Option<&str>, &str>) {
        let path = format!("k={value}/x.parquet");
        let mut files = [FoundFile {
            path: path.clone().into(),
            format: FileFormat::Parquet,
            bytes: 0,
            modified: 0,
            partitions: parse(Path::new(&path)).unwrap(),
        }];
        let mut faults = Vec::new();
        settle(&mut files, &BTreeMap::from([("k".to_owned(), holds)]), &mut faults);
        match expected {
            Ok(expected) => {
                assert_eq!(faults, []);
                assert_eq!(files[0].partitions[0].1.as_deref(), expected);
            }
            Err(said) => {
                let text = faults[0].to_string();
                assert!(text.starts_with(&format!("{path}, partition \"k\": ")), "{text}");
                assert!(text.contains(said), "{text}");
                assert!(!faults[0].hint.is_empty());
            }
        }
    }

    #[test]
    fn declared_values_are_validated() {
        check_declared("007", PartitionType::String, Ok(Some("007")));
        check_declared("007", PartitionType::Int, Ok(Some("7")));
        check_declared("-3", PartitionType::Int, Ok(Some("-3")));
        check_declared("20x4", PartitionType::Int, Err("holds \"20x4\" where a whole number"));
        check_declared("", PartitionType::Int, Err("holds \"\" where a whole number"));
        check_declared("2024-02-29", PartitionType::Date, Ok(Some("2024-02-29")));
        check_declared("2023-02-29", PartitionType::Date, Err("where a date YYYY-MM-DD"));
        check_declared("2024-2-9", PartitionType::Date, Err("where a date YYYY-MM-DD"));
    }

    #[test]
    fn null_suits_every_declared_type() {
        for holds in [PartitionType::String, PartitionType::Int, PartitionType::Date] {
            check_declared(HIVE_NULL, holds, Ok(None));
        }
    }
}
