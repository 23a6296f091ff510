//! Names and places: what a run is called, which paths a run may write, and that output and input
//! stay apart.

use std::path::{Component, Path, PathBuf};

use crate::error::Error;
use crate::time::Instant;

/// Folder of the runs within the output folder.
pub(super) const RUNS: &str = "runs";

/// All that decides what a run computes; two runs with the same identity give the same tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunIdentity {
    /// The run's instant.
    pub as_of: Instant,
    /// Hash of the configuration.
    pub config_hash: String,
    /// Fingerprints of every input file, with the input's name, in any order.
    pub inputs: Vec<String>,
    /// Version of Dealmill.
    pub version: String,
    /// Names of the tables asked for, in any order, and their format.
    pub selection: Vec<String>,
}

impl RunIdentity {
    /// The run's name: `2025-01-01T000000Z-3f9c2a`, the instant to the second and six digits of a
    /// hash over everything else (and the instant's fraction).
    #[must_use]
    pub fn run_id(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        // Every part is preceded by its length, so that no two lists of parts read the same.
        let mut part = |text: &str| {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        part(&self.as_of.to_string());
        part(&self.config_hash);
        part(&self.version);
        for list in [&self.inputs, &self.selection] {
            let mut sorted: Vec<&String> = list.iter().collect();
            sorted.sort();
            part(&sorted.len().to_string());
            sorted.into_iter().for_each(|text| part(text));
        }
        let hash = hasher.finalize().to_hex();
        let instant = chrono::DateTime::from_timestamp_micros(self.as_of).unwrap_or_default();
        let digits: String = hash.chars().take(6).collect();
        format!("{}-{digits}", instant.format("%Y-%m-%dT%H%M%SZ"))
    }
}

/// Whether a folder's name has the shape of a run's name, perhaps with a number behind it.
pub(super) fn is_run_id(name: &str) -> bool {
    const SHAPE: &str = "0000-00-00T000000Z-hhhhhh";
    let Some((head, tail)) = name.split_at_checked(SHAPE.len()) else { return false };
    let fits = head.chars().zip(SHAPE.chars()).all(|(found, wanted)| match wanted {
        '0' => found.is_ascii_digit(),
        'h' => found.is_ascii_digit() || ('a'..='f').contains(&found),
        _ => found == wanted,
    });
    let number = tail.strip_prefix('-').unwrap_or("none");
    fits && (tail.is_empty() || number.parse::<u32>().is_ok_and(|n| n > 1))
}

/// A path within the run folder as an absolute one, if it stays inside.
pub(super) fn inside(folder: &Path, relative: &str) -> Result<PathBuf, Error> {
    let path = Path::new(relative);
    let plain = path.components().all(|c| matches!(c, Component::Normal(_)));
    let hidden = relative.split('/').any(|part| part.starts_with('.') || part.is_empty());
    if plain && !hidden && !relative.contains(['\\', '\0']) {
        return Ok(folder.join(path));
    }
    Err(Error::Bug(format!("{relative:?} is not a path within a run folder")))
}

/// Checks that the output folder is not inside an input, and that no input is inside the folder of
/// finished runs, where it could be removed as an old run.
///
/// Definition: `inputs` are (name, path or glob). Links are resolved as far as the paths exist.
///
/// # Errors
/// One or more inputs are in the way; all are listed.
pub fn check_apart(output: &Path, inputs: &[(&str, &Path)]) -> Result<(), Error> {
    let out = resolved(output);
    let runs = out.join(RUNS);
    let problems: Vec<String> = inputs
        .iter()
        .filter_map(|(name, path)| {
            let root = resolved(&fixed_part(path));
            if out.starts_with(&root) {
                Some(format!(
                    "the output folder {} is inside input {name:?} ({})",
                    output.display(),
                    path.display()
                ))
            } else if root.starts_with(&runs) {
                Some(format!(
                    "input {name:?} ({}) is inside the runs of the output folder {}",
                    path.display(),
                    output.display()
                ))
            } else {
                None
            }
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::Config(problems)) }
}

/// The part of a glob before its first pattern.
fn fixed_part(path: &Path) -> PathBuf {
    if path.exists() {
        return path.to_owned();
    }
    path.components()
        .take_while(|c| !c.as_os_str().to_string_lossy().contains(['*', '?', '[']))
        .collect()
}

/// The path without links and dots, as far as it exists; the rest is appended as given.
fn resolved(path: &Path) -> PathBuf {
    let start = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let absolute = std::path::absolute(start).unwrap_or_else(|_| start.to_owned());
    for ancestor in absolute.ancestors() {
        if let Ok(real) = ancestor.canonicalize() {
            let rest = absolute.strip_prefix(ancestor).unwrap_or(Path::new(""));
            return normal(&real.join(rest));
        }
    }
    normal(&absolute)
}

fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> RunIdentity {
        RunIdentity {
            as_of: 1_735_689_600_000_000,
            config_hash: "c".into(),
            inputs: vec!["deals/a".into(), "deals/b".into()],
            version: "0.1.0".into(),
            selection: vec!["parquet".into(), "oranges".into()],
        }
    }

    #[test]
    fn run_id_begins_with_the_instant_and_has_the_declared_shape() {
        let id = identity().run_id();
        // 1,735,689,600 s after the epoch is 2025-01-01T00:00:00Z.
        assert!(id.starts_with("2025-01-01T000000Z-"), "{id}");
        assert!(is_run_id(&id), "{id}");
    }

    #[test]
    fn run_id_depends_on_every_part_but_not_on_the_order_of_inputs() {
        let mut swapped = identity();
        swapped.inputs.reverse();
        assert_eq!(identity().run_id(), swapped.run_id());
        let changes: [fn(&mut RunIdentity); 6] = [
            |i| i.as_of += 1,
            |i| i.config_hash.push('x'),
            |i| i.inputs = vec!["deals/a".into(), "deals/c".into()],
            |i| i.inputs = vec!["deals/adeals/b".into()],
            |i| i.version.push('x'),
            |i| i.selection.push("pears".into()),
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut changed = identity();
            change(&mut changed);
            assert_ne!(identity().run_id(), changed.run_id(), "change {n}");
        }
    }

    #[test]
    fn only_run_names_look_like_run_names() {
        for good in ["2025-01-01T000000Z-3f9c2a", "2025-01-01T000000Z-3f9c2a-2"] {
            assert!(is_run_id(good), "{good}");
        }
        for bad in
            ["", "latest", "2025-01-01T000000Z-3f9c2", "2025-01-01T000000Z-3f9c2a-", "2025-01-01"]
        {
            assert!(!is_run_id(bad), "{bad}");
        }
        for bad in [
            "2025-01-01T000000Z-3f9c2a-1",
            "2025-01-01T000000Z-3F9C2A",
            "2025-01-01T000000Z-3f9c2a.bak",
        ] {
            assert!(!is_run_id(bad), "{bad}");
        }
    }

    #[test]
    fn written_paths_stay_inside_the_run_folder() {
        let folder = Path::new("/out");
        assert_eq!(
            inside(folder, "quarantine/a.parquet").unwrap(),
            folder.join("quarantine/a.parquet")
        );
        for bad in
            ["../x", "/etc/x", "a/../../x", "", "./x", "a//b", ".hidden", "a/.b", "a\\b", "a\0"]
        {
            assert!(inside(folder, bad).is_err(), "{bad:?}");
        }
    }

    #[track_caller]
    fn check(output: &str, input: &str, apart: bool) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("data/deals/year=2024")).unwrap();
        std::fs::create_dir_all(root.path().join("out/runs/r")).unwrap();
        std::os::unix::fs::symlink("data", root.path().join("link")).unwrap();
        let input = root.path().join(input);
        let result = check_apart(&root.path().join(output), &[("deal_events", &input)]);
        assert_eq!(result.is_ok(), apart, "{result:?}");
    }

    #[test]
    fn output_and_input_must_stay_apart() {
        check("out", "data", true);
        check("out", "data/deals/*/*.parquet", true);
        check("data2", "data", true);
        check("out", "out/data", true);
        check("data", "data", false);
        check("data/out", "data", false);
        check("data/out/deeper", "data/../data", false);
        check("link/out", "data", false);
        check("data/out", "link", false);
        check("data/deals/out", "data/deals/**/*.parquet", false);
        check("out", "out/runs/r", false);
    }
}
