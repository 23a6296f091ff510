//! Which files make up an input, and what their paths say.
//!
//! Files are listed here and nowhere else, in the order of their paths, because engines that list
//! for themselves skip empty files, guess partition types and drop partition columns in silence.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Fault};

/// The null marker that Hive, Spark and their kin write into partition paths.
const HIVE_NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Shortest possible Parquet file: magic, footer length, magic.
const PARQUET_BYTES_MIN: u64 = 12;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// `*.parquet`, `*.pq`
    Parquet,
    /// `*.csv`
    Csv,
}

/// One file of an input.
#[derive(Debug, Clone)]
pub struct FoundFile {
    /// Where it is.
    pub path: PathBuf,
    /// How it is read.
    pub format: FileFormat,
    /// Its size when it was listed.
    pub bytes: u64,
    /// When it was last modified, microseconds since the epoch, as listed.
    pub modified: i64,
    /// Hive partition keys and values from its path; a value of `None` is null.
    pub partitions: Vec<(String, Option<String>)>,
}

/// The files of an input.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The folder, or the longest fixed part of a glob.
    pub root: PathBuf,
    /// In order of their paths.
    pub files: Vec<FoundFile>,
    /// Files that are not data (`_SUCCESS`, `.crc`, other extensions).
    pub ignored: Vec<PathBuf>,
}

/// Lists the files of an input: a folder with everything below it, one file, or a glob.
///
/// Names that begin with `_` or `.` and files of other extensions are ignored and reported.
///
/// # Errors
/// A path that does not exist, holds no data file, cannot be read, or leads out of its folder by a
/// symbolic link; files too short to be Parquet; partition keys that differ between files.
pub fn discover(input: &str, path: &Path, follow_links: bool) -> Result<Listing, Error> {
    let missing = |problem: &str, hint: &str| Error::InputMissing {
        input: input.to_owned(),
        path: path.to_owned(),
        problem: problem.to_owned(),
        hint: hint.to_owned(),
    };
    let text = path.to_string_lossy();
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(Error::NotYet {
            what: format!("reading from {scheme}:// (input {input:?})"),
            hint: "copy the files to a local folder and give its path".into(),
        });
    }
    let mut walk = Walk { follow_links, ..Walk::default() };
    let root = if path.is_file() {
        walk.add_named(path);
        path.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
    } else if path.is_dir() {
        walk.canonical_root = path.canonicalize().ok();
        walk.folder(path);
        path.to_path_buf()
    } else if text.contains(['*', '?', '[']) {
        let root = fixed_part(path);
        walk.canonical_root = root.canonicalize().ok();
        walk.glob(&text);
        root
    } else {
        return Err(missing("path does not exist", "paths are relative to the configuration file"));
    };
    let Walk { mut files, ignored, mut faults, .. } = walk;
    files.sort();
    let found = describe_files(&root, files, &mut faults);
    if !faults.is_empty() {
        return Err(Error::Faults(faults));
    }
    if found.is_empty() {
        let hint = "expected *.parquet or *.csv files; names that begin with _ or . are ignored";
        return Err(missing("no data file in it", hint));
    }
    Ok(Listing { root, files: found, ignored })
}

#[derive(Default)]
struct Walk {
    follow_links: bool,
    canonical_root: Option<PathBuf>,
    files: Vec<PathBuf>,
    ignored: Vec<PathBuf>,
    faults: Vec<Fault>,
}

impl Walk {
    /// Adds a file that the user named: its extension need not be known.
    fn add_named(&mut self, path: &Path) {
        self.files.push(path.to_path_buf());
    }

    fn add(&mut self, path: &Path) {
        let hidden = path.file_name().is_none_or(|n| n.to_string_lossy().starts_with(['_', '.']));
        if hidden || format_of(path).is_none() {
            self.ignored.push(path.to_path_buf());
        } else if self.stays_inside(path) {
            self.files.push(path.to_path_buf());
        }
    }

    fn stays_inside(&mut self, path: &Path) -> bool {
        if self.follow_links {
            return true;
        }
        let inside = match (&self.canonical_root, path.canonicalize()) {
            (Some(root), Ok(real)) => real.starts_with(root),
            _ => true,
        };
        if !inside {
            self.faults.push(Fault {
                file: path.to_path_buf(),
                place: String::new(),
                problem: "a symbolic link that leads out of the input's folder".into(),
                hint: "set follow_links = true for this input to allow it".into(),
            });
        }
        inside
    }

    fn folder(&mut self, folder: &Path) {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(e) => return self.unreadable(folder, &e),
        };
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => paths.push(entry.path()),
                Err(e) => self.unreadable(folder, &e),
            }
        }
        paths.sort();
        for path in paths {
            let hidden =
                path.file_name().is_none_or(|n| n.to_string_lossy().starts_with(['_', '.']));
            if path.is_dir() {
                if !hidden && self.stays_inside(&path) {
                    self.folder(&path);
                }
            } else {
                self.add(&path);
            }
        }
    }

    fn glob(&mut self, pattern: &str) {
        match glob::glob(pattern) {
            Ok(paths) => {
                for path in paths {
                    match path {
                        Ok(path) if path.is_dir() => self.folder(&path),
                        Ok(path) => self.add(&path),
                        Err(e) => self.unreadable(e.path(), e.error()),
                    }
                }
            }
            Err(e) => self.faults.push(Fault {
                file: pattern.into(),
                place: String::new(),
                problem: format!("not a valid glob: {e}"),
                hint: "use *, ?, [abc] and **".into(),
            }),
        }
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        self.faults.push(Fault {
            file: path.to_path_buf(),
            place: String::new(),
            problem: format!("cannot be read: {error}"),
            hint: "check its permissions".into(),
        });
    }
}

fn format_of(path: &Path) -> Option<FileFormat> {
    match path.extension()?.to_string_lossy().to_lowercase().as_str() {
        "parquet" | "pq" => Some(FileFormat::Parquet),
        "csv" => Some(FileFormat::Csv),
        _ => None,
    }
}

/// The folder of a glob before its first wildcard.
fn fixed_part(pattern: &Path) -> PathBuf {
    let mut fixed = PathBuf::new();
    for component in pattern.components() {
        if component.as_os_str().to_string_lossy().contains(['*', '?', '[']) {
            break;
        }
        fixed.push(component);
    }
    if fixed.as_os_str().is_empty() { PathBuf::from(".") } else { fixed }
}

fn describe_files(root: &Path, paths: Vec<PathBuf>, faults: &mut Vec<Fault>) -> Vec<FoundFile> {
    let mut found: Vec<FoundFile> = Vec::with_capacity(paths.len());
    for path in paths {
        let mut refuse = |problem: String, hint: &str| {
            let hint = hint.to_owned();
            faults.push(Fault { file: path.clone(), place: String::new(), problem, hint });
        };
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(e) => {
                refuse(format!("cannot be read: {e}"), "check its permissions");
                continue;
            }
        };
        let format = format_of(&path).unwrap_or(FileFormat::Parquet);
        if format == FileFormat::Parquet && metadata.len() < PARQUET_BYTES_MIN {
            let problem = format!("{} bytes are too few for a Parquet file", metadata.len());
            refuse(problem, "it was not written to its end; write it again or remove it");
            continue;
        }
        let partitions = match parse_partitions(path.strip_prefix(root).unwrap_or(&path)) {
            Ok(partitions) => partitions,
            Err(problem) => {
                refuse(problem, "partition folders are named key=value");
                continue;
            }
        };
        if let Some(first) = found.first() {
            let keys = |p: &[(String, Option<String>)]| -> Vec<String> {
                p.iter().map(|(k, _)| k.clone()).collect()
            };
            let (expected, actual) = (keys(&first.partitions), keys(&partitions));
            if expected != actual {
                let problem = format!(
                    "its partition keys [{}] differ from [{}] of {}",
                    actual.join(", "),
                    expected.join(", "),
                    first.path.display()
                );
                refuse(problem, "all files of an input must lie at the same partition depth");
                continue;
            }
        }
        let modified = modified_micros(&metadata);
        found.push(FoundFile { path, format, bytes: metadata.len(), modified, partitions });
    }
    found
}

/// When a file was last modified, microseconds since the epoch; 0 where the system does not say.
pub(super) fn modified_micros(metadata: &std::fs::Metadata) -> i64 {
    metadata
        .modified()
        .ok()
        .and_then(|m| m.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|d| i64::try_from(d.as_micros()).ok())
        .unwrap_or(0)
}

/// Partition keys and values of a path below the input's root. A segment is split at its first `=`;
/// both sides are percent-decoded once; the Hive null marker is null, an empty value is empty text.
fn parse_partitions(below_root: &Path) -> Result<Vec<(String, Option<String>)>, String> {
    let mut partitions: Vec<(String, Option<String>)> = Vec::new();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &[(&str, Option<&str>)]) {
        let got = parse_partitions(Path::new(path)).unwrap();
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
        assert!(parse_partitions(Path::new("a=1/a=2/x.parquet")).is_err());
    }
}
