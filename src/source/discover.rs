//! Which files make up an input, and what their paths say.
//!
//! Files are listed here and nowhere else, in the order of their paths, because engines that list
//! for themselves skip empty files, guess partition types and drop partition columns in silence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::partitions::{self, Partition};
use crate::error::{Error, Fault};

/// Shortest possible Parquet file: magic, footer length, magic.
const PARQUET_BYTES_MIN: u64 = 12;

/// How a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// `*.parquet`, `*.pq`
    Parquet,
    /// `*.csv`, `*.tsv`, either of them also as `*.gz`
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
    pub partitions: Vec<Partition>,
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
    /// What is wrong with files that are not among them: too short to be Parquet, partition keys
    /// that differ between files, links that lead out. Reported with what their contents give.
    pub(crate) faults: Vec<Fault>,
}

/// Lists the files of an input: a folder with everything below it, one file, or a glob.
///
/// Names that begin with `_` or `.` and files of other extensions are ignored and reported.
///
/// # Errors
/// A path that does not exist or holds no data file.
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
    let mut walk = Walk { follow_links, root: fixed_part(path), ..Walk::default() };
    let root = if path.is_file() {
        walk.add_named(path);
        path.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
    } else if path.is_dir() {
        walk.root = path.to_path_buf();
        walk.canonical_root = path.canonicalize().ok();
        walk.folder(path);
        path.to_path_buf()
    } else if text.contains(['*', '?', '[']) {
        walk.canonical_root = walk.root.canonicalize().ok();
        walk.glob(&text);
        walk.root.clone()
    } else if path.exists() {
        let hint = "give a folder, a file or a glob";
        return Err(missing("neither a file nor a folder", hint));
    } else {
        return Err(missing("path does not exist", "paths are relative to the configuration file"));
    };
    let Walk { mut files, ignored, mut faults, .. } = walk;
    files.sort();
    let found = describe_files(&root, files, &mut faults);
    check_format(&found, &mut faults);
    if found.is_empty() && !faults.is_empty() {
        return Err(Error::Faults(faults));
    }
    if found.is_empty() {
        let hint = "expected *.parquet or *.csv files; names that begin with _ or . are ignored";
        return Err(missing("no data file in it", hint));
    }
    Ok(Listing { root, files: found, ignored, faults })
}

#[derive(Default)]
struct Walk {
    follow_links: bool,
    /// Below it, whatever has a name that begins with `_` or `.` is no data.
    root: PathBuf,
    canonical_root: Option<PathBuf>,
    /// What was met, by its real path, so that nothing is read twice.
    seen: BTreeMap<PathBuf, PathBuf>,
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
        if self.is_hidden(path) || format_of(path).is_none() {
            self.ignored.push(path.to_path_buf());
        } else if self.stays_inside(path) && self.is_new(path) {
            self.files.push(path.to_path_buf());
        }
    }

    fn is_hidden(&self, path: &Path) -> bool {
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        below.components().any(|c| c.as_os_str().to_string_lossy().starts_with(['_', '.']))
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

    /// Whether a path is met for the first time. One that a link leads to again is refused, because
    /// its rows would count twice, or the walk would never end; one that a glob matches twice is not
    /// new either, and no fault.
    fn is_new(&mut self, path: &Path) -> bool {
        let Ok(real) = path.canonicalize() else { return true };
        match self.seen.get(&real) {
            None => {
                self.seen.insert(real, path.to_path_buf());
                true
            }
            Some(first) => {
                if first != path {
                    self.faults.push(Fault {
                        file: path.to_path_buf(),
                        place: String::new(),
                        problem: format!(
                            "is a link to {}, whose rows would count twice",
                            first.display()
                        ),
                        hint: "remove the link or what it leads to from the input".into(),
                    });
                }
                false
            }
        }
    }

    fn folder(&mut self, folder: &Path) {
        if !self.is_new(folder) {
            return;
        }
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
            if path.is_dir() {
                if !self.is_hidden(&path) && self.stays_inside(&path) {
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
                        Ok(path) if !path.is_dir() => self.add(&path),
                        Ok(path) if self.is_hidden(&path) || !self.stays_inside(&path) => {}
                        Ok(path) => self.folder(&path),
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
        "csv" | "tsv" => Some(FileFormat::Csv),
        "gz" => match format_of(Path::new(path.file_stem()?))? {
            FileFormat::Csv => Some(FileFormat::Csv),
            FileFormat::Parquet => None,
        },
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
        if !metadata.is_file() {
            refuse("is not a regular file".into(), "remove it from the input");
            continue;
        }
        let format = format_of(&path).unwrap_or(FileFormat::Parquet);
        if format == FileFormat::Parquet && metadata.len() < PARQUET_BYTES_MIN {
            let problem = format!("{} bytes are too few for a Parquet file", metadata.len());
            refuse(problem, "it was not written to its end; write it again or remove it");
            continue;
        }
        let partitions = match partitions::parse(path.strip_prefix(root).unwrap_or(&path)) {
            Ok(partitions) => partitions,
            Err(problem) => {
                refuse(problem, "partition folders are named key=value");
                continue;
            }
        };
        if let Some(first) = found.first() {
            let keys =
                |p: &[Partition]| -> Vec<String> { p.iter().map(|(k, _)| k.clone()).collect() };
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

/// All files of an input are Parquet or all are CSV: a copy in the other format beside the data
/// would double every number.
fn check_format(found: &[FoundFile], faults: &mut Vec<Fault>) {
    let Some(first) = found.first() else { return };
    let Some(other) = found.iter().find(|f| f.format != first.format) else { return };
    faults.push(Fault {
        file: other.path.clone(),
        place: String::new(),
        problem: format!(
            "is {:?} but {} is {:?}; the rows of a copy would count twice",
            other.format,
            first.path.display(),
            first.format
        ),
        hint: "name one format with a glob, such as path = \"data/**/*.parquet\"".into(),
    });
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
