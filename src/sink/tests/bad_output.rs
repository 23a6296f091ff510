//! Folders that cannot be written, and disks that are full.

use super::*;

#[test]
fn file_in_place_of_the_output_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out");
    fs::write(&file, "mine").unwrap();
    let error = Output::claim(&file, "now").unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert_eq!(Output::claim(&file.join("deeper"), "now").unwrap_err().exit_code(), 5);
}

#[test]
fn folder_that_may_not_be_written_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(out.join("probe"), "").is_ok() {
        println!("skipped: this user may write into read-only folders");
        return;
    }
    let error = Output::claim(&out, "now").unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains(&out.display().to_string()), "{error}");
}

#[test]
fn missing_run_says_so() {
    let out = tempfile::tempdir().unwrap();
    assert!(matches!(open_latest(out.path()), Err(Error::NoRun { .. })));
    std::os::unix::fs::symlink("runs/gone", out.path().join("latest")).unwrap();
    assert!(matches!(open_latest(out.path()), Err(Error::NoRun { .. })));
}

/// A small memory file system, unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        mount.stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|s| s.success()).then_some(Self(folder))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn full_disk_leaves_the_run_before_and_names_the_file() {
    let Some(disk) = Tmpfs::new("256k") else {
        println!("skipped: this user may not mount a small file system");
        return;
    };
    let out = disk.0.path().join("out");
    let first = publish(&out, 0, 1, 3).unwrap();
    let before = tree(&out);
    let output = Output::claim(&out, "now").unwrap();
    let mut staging = output.stage(stamp(1)).unwrap();
    let values = Int64Array::from_iter_values((0..200_000_i64).map(|n| n * n % 1_000_003));
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(values)]).unwrap();
    let error =
        staging.write_batches("quarantine/deal_events.parquet", schema, [batch]).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().ends_with("quarantine/deal_events.parquet"), "{error}");
    let chain = format!("{error:?}");
    assert!(chain.contains("StorageFull") || chain.contains("No space left"), "{chain}");
    drop(staging);
    drop(output);
    assert_eq!(tree(&out), before);
    assert_eq!(open_latest(&out).unwrap().manifest.run_id, first.run_id);
}
