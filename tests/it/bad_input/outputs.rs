//! Outputs that cannot be written, and what is there already.

use super::*;
use dealmill::sink;

/// Runs the folder's configuration with another output folder.
fn run_into(scratch: &Scratch, out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dealmill"))
        .args(["run", "-c", "dealmill.toml", "--out"])
        .arg(out)
        .current_dir(scratch.path(""))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn an_output_that_is_a_file_is_named_and_left_alone() {
    let scratch = published_once();
    let file = scratch.write("taken", "mine");
    check_output_path(&scratch, &file);
    check_output_path(&scratch, &scratch.path("taken/deeper"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

/// The plain configuration cannot be published there: exit code 5, the path named.
#[track_caller]
fn check_output_path(scratch: &Scratch, out: &Path) {
    scratch.write("dealmill.toml", CONFIG);
    let output = run_into(scratch, out);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains(&out.display().to_string()), "{text}");
    assert!(text.contains("\n\nhint: "), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_named() {
    // Nobody, not even root, makes folders there.
    check_output_path(&published_once(), Path::new("/proc/dealmill-out"));
}

#[test]
fn an_output_inside_an_input_is_refused() {
    let scratch = published_once();
    scratch.write("dealmill.toml", CONFIG);
    let out = scratch.path("events/out");
    let output = run_into(&scratch, &out);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("is inside input \"deal_events\""), "{text}");
    assert!(!out.exists());
}

#[test]
fn the_second_run_on_an_output_exits_with_6_and_names_the_first() {
    let scratch = published_once();
    let held = sink::Output::claim(&scratch.path("out"), "2025-01-01T00:00:00Z").unwrap();
    let holder = format!("process {}", std::process::id());
    check_fails(&scratch, CONFIG, 6, &["another run holds", &holder, "2025-01-01T00:00:00Z"]);
    drop(held);
    check_warns(&scratch, CONFIG, &[]);
}

/// A memory file system, unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        mount.stdout(Stdio::null()).stderr(Stdio::null());
        mount.status().is_ok_and(|s| s.success()).then_some(Self(folder))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_what_was_published() {
    let scratch = published_once();
    let Some(disk) = Tmpfs::new("1m") else {
        eprintln!("SKIPPED: a small file system cannot be mounted here");
        return;
    };
    let out = disk.0.path().join("out");
    scratch.write("dealmill.toml", CONFIG);
    let output = run_into(&scratch, &out);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let before = published(&out.join("latest"));
    // Leave less room than the next run needs.
    let filler = disk.0.path().join("filler");
    let mut size = 1 << 20;
    while size > 512 {
        let mut bytes = std::fs::read(&filler).unwrap_or_default();
        bytes.resize(bytes.len() + size, 1);
        if std::fs::write(&filler, &bytes).is_err() {
            bytes.truncate(bytes.len() - size);
            std::fs::write(&filler, &bytes).unwrap();
            size /= 2;
        }
    }
    scratch.write("dealmill.toml", &CONFIG.replace("2024-04-01", "2024-04-02"));
    let output = run_into(&scratch, &out);
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("No space left") && text.contains("\n\nhint: "), "{text}");
    assert!(before == published(&out.join("latest")));
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_leaves_what_was_published() {
    // Works without mounting: the shell limits files to one block and ignores the signal.
    let scratch = published_once();
    let before = seen(&scratch);
    scratch.write("dealmill.toml", &CONFIG.replace("2024-04-01", "2024-04-02"));
    let binary = env!("CARGO_BIN_EXE_dealmill");
    let limited =
        format!("trap '' XFSZ; ulimit -f 1; exec '{binary}' run -c dealmill.toml --out out");
    let output = Command::new("bash")
        .args(["-c", &limited])
        .current_dir(scratch.path(""))
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: there is no bash");
        return;
    };
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("error: cannot write") && text.contains("\n\nhint: "), "{text}");
    assert!(before == seen(&scratch));
    // Nothing is left behind either.
    let runs = std::fs::read_dir(scratch.path("out/runs")).unwrap().count();
    assert_eq!(runs, 1, "{text}");
}
