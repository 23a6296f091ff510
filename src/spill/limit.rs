//! How much memory a run may use: what the user says, what the machine and its cgroup allow, and
//! the least that a run needs.

use std::fs;
use std::path::{Component, Path};

use bytesize::ByteSize;

use super::budget::{PROGRAM_BYTES, ROWS_IN_FLIGHT_MIN};
use super::room::THREAD_BYTES_MIN;
use crate::error::Error;

/// The part of what is allowed that a run takes unless it is told otherwise, in percent. The rest is
/// for the page cache, without which reading crawls, and for the neighbours.
const DEFAULT_PERCENT: u64 = 70;

/// Stands for the memory of a machine that does not tell.
const UNKNOWN_MACHINE: u64 = 4 << 30;

/// The bytes of a size as a person writes it.
///
/// Units: `KiB MiB GiB TiB` are powers of 1024, `kB MB GB TB` powers of 1000; a number alone is
/// bytes. Upper and lower case are the same.
///
/// # Errors
/// What was expected, in words. A unit of one letter is refused, because programs differ about what
/// `m` is.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let number = text.trim();
    let unit = number.trim_start_matches(|c: char| c.is_ascii_digit() || ".+ _".contains(c));
    if let "k" | "m" | "g" | "t" | "p" | "e" = unit.to_ascii_lowercase().as_str() {
        let (amount, letter) = (number.trim_end_matches(unit).trim_end(), unit.to_uppercase());
        return Err(format!(
            "{text:?} could mean two sizes: write {amount}{letter}iB (powers of 1024) or \
             {amount}{letter}B (powers of 1000)"
        ));
    }
    let wrong = || {
        format!(
            "expected a size such as 512MiB, 1.5GiB or 2GB, or a number of bytes, found {text:?}"
        )
    };
    number.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| wrong())
}

/// A size rounded up to whole MiB, as [`parse_size`] reads it.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    format!("{}MiB", bytes.div_ceil(1 << 20))
}

/// The bytes that the machine has, or its cgroup allows where that is less.
#[must_use]
pub fn allowed_bytes() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let machine = match system.total_memory() {
        0 => UNKNOWN_MACHINE,
        bytes => bytes,
    };
    let group = cgroup_bytes(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
    group.map_or(machine, |group| group.min(machine))
}

/// The limit of a run that is not told one: 70 % of what is allowed.
#[must_use]
pub fn default_limit() -> u64 {
    allowed_bytes() / 100 * DEFAULT_PERCENT
}

/// The least limit of the process's cgroup and all those above it; `None` where none is set.
///
/// Edge cases: version 2 and version 1 hierarchies, also both at once; inside a container the path
/// may name folders that are not to be seen, of which those that are count.
fn cgroup_bytes(membership: &Path, mounted: &Path) -> Option<u64> {
    let text = fs::read_to_string(membership).ok()?;
    text.lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            if controllers.is_empty() {
                let unified = mounted.join("unified");
                let root = if unified.is_dir() { unified } else { mounted.to_owned() };
                return least_on_the_way(&root, path, "memory.max");
            }
            let is_memory = controllers.split(',').any(|c| c == "memory");
            let root = mounted.join("memory");
            is_memory.then(|| least_on_the_way(&root, path, "memory.limit_in_bytes")).flatten()
        })
        .min()
}

/// The least number in the files of this name in the group's folder and every one above it.
fn least_on_the_way(root: &Path, path: &str, name: &str) -> Option<u64> {
    let mut folder = root.to_owned();
    let mut least = read_number(&folder.join(name));
    let steps = Path::new(path).components().filter_map(|step| match step {
        Component::Normal(step) => Some(step.to_owned()),
        _ => None,
    });
    for step in steps {
        folder.push(step);
        // A group without a limit of its own says `max`.
        least = least.into_iter().chain(read_number(&folder.join(name))).min();
    }
    least
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// What a run asks of memory, as far as the footers of its inputs tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// Threads that read and fold at once.
    pub threads: u64,
    /// Files of all inputs; each keeps its footer.
    pub files: u64,
    /// Row groups of all inputs; each keeps the places of its columns.
    pub row_groups: u64,
    /// Wanted columns.
    pub columns: u64,
    /// The largest sum, over the row groups, of what the pages of the wanted columns take that are
    /// open at one time.
    pub page_bytes: u64,
    /// Bytes of one row while it is decoded and scattered.
    pub row_bytes: u64,
    /// Bytes that stay in memory whatever is spilled: names, rows in quarantine.
    pub kept_bytes: u64,
}

/// The smallest limit under which a run can be expected to end.
///
/// Definition: the program itself, `PROGRAM_BYTES`; 4 KiB a file and 1 KiB a wanted column of each
/// row group for the footers; the names and broken rows; and for each thread the pages that are
/// open, and the least number of rows in flight twice, decoded and scattered, or later the least
/// sums and the events of two buckets, whichever is more. What is left above that is what events
/// and states may hold, so the sum of these is to be at most three quarters of the limit; the names
/// and broken rows, of which there are copies while they are sorted, at most a quarter.
///
/// Units: bytes, rounded up to whole MiB.
#[must_use]
pub fn smallest_limit(demand: &Demand) -> u64 {
    let footers = (demand.files * (4 << 10))
        .saturating_add(demand.row_groups.saturating_mul(demand.columns).saturating_mul(1 << 10));
    let in_flight = ROWS_IN_FLIGHT_MIN.saturating_mul(demand.row_bytes).saturating_mul(2);
    let reading = demand.page_bytes.saturating_add(in_flight);
    let folding = BUCKETS_ROWS.saturating_mul(demand.row_bytes) * 2 + THREAD_BYTES_MIN * 3 / 2;
    let threads = demand.threads.max(1).saturating_mul(reading.max(folding));
    let fixed = footers.saturating_add(demand.kept_bytes.saturating_mul(3)).saturating_add(threads);
    let bytes = PROGRAM_BYTES.saturating_add(fixed.saturating_mul(4) / 3);
    bytes.div_ceil(1 << 20).saturating_mul(1 << 20)
}

/// Events of two buckets, about.
const BUCKETS_ROWS: u64 = 1 << 14;

/// Refuses a limit that cannot hold the run.
///
/// # Errors
/// [`Error::MemoryLimit`], with the smallest limit that can.
pub fn refuse(limit: u64, demand: &Demand) -> Result<(), Error> {
    let smallest = smallest_limit(demand);
    if limit >= smallest {
        return Ok(());
    }
    let kept = smallest - smallest_limit(&Demand { kept_bytes: 0, ..*demand });
    let instead = if kept > smallest / 2 {
        "shorter identifiers and fewer broken rows need"
    } else if demand.threads > 1 {
        "fewer threads need"
    } else {
        "fewer files and columns need"
    };
    Err(Error::MemoryLimit { limit: size_text(limit), smallest: size_text(smallest), instead })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_size(text: &str, bytes: u64) {
        assert_eq!(parse_size(text), Ok(bytes), "{text}");
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        check_size("1GiB", 1_073_741_824);
        check_size("256MiB", 268_435_456);
        check_size("256 mib", 268_435_456);
        check_size("1.5GiB", 1_610_612_736);
        check_size("1.5 kB", 1_500);
        check_size("2GB", 2_000_000_000);
        check_size("1048576", 1_048_576);
        check_size(" 64kib ", 65_536);
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_was_expected() {
        for text in ["", "much", "-1GiB", "1GiBs", "GiB", "1,5GiB", "50%"] {
            let problem = parse_size(text).unwrap_err();
            assert!(problem.contains("512MiB") && problem.contains(text), "{problem}");
        }
    }

    #[test]
    fn a_unit_of_one_letter_is_refused_with_both_meanings() {
        for (text, binary, decimal) in
            [("256m", "256MiB", "256MB"), ("2G", "2GiB", "2GB"), ("1.5 k", "1.5KiB", "1.5KB")]
        {
            let problem = parse_size(text).unwrap_err();
            assert!(problem.contains(binary) && problem.contains(decimal), "{problem}");
            assert!(parse_size(binary).unwrap() > parse_size(decimal).unwrap());
        }
    }

    #[test]
    fn a_size_printed_is_a_size_that_can_be_typed() {
        for bytes in [1, 1 << 20, (1 << 20) + 1, 123_456_789_012] {
            let read = parse_size(&size_text(bytes)).unwrap();
            assert!(read >= bytes && read - bytes < 1 << 20, "{bytes} became {read}");
        }
    }

    /// Writes files below a folder and asks for the limit.
    #[track_caller]
    fn check_group(membership: &str, files: &[(&str, &str)], expected: Option<u64>) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join("fs").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let own = folder.path().join("cgroup");
        fs::write(&own, membership).unwrap();
        assert_eq!(cgroup_bytes(&own, &folder.path().join("fs")), expected);
    }

    #[test]
    fn the_least_limit_on_the_way_up_holds() {
        let files = [
            ("a/memory.max", "2000000\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/c/memory.max", "3000000\n"),
        ];
        check_group("0::/a/b/c\n", &files, Some(2_000_000));
        check_group("0::/a/b\n", &files, Some(2_000_000));
        check_group("0::/\n", &files, None);
        check_group("0::/../../a\n", &files, Some(2_000_000));
    }

    #[test]
    fn a_container_sees_its_own_limit_at_the_root() {
        check_group("0::/\n", &[("memory.max", "512000\n")], Some(512_000));
        check_group("0::/not/to/be/seen\n", &[("memory.max", "512000\n")], Some(512_000));
    }

    #[test]
    fn groups_of_version_one_count_too() {
        let files = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/job/memory.limit_in_bytes", "700000\n"),
        ];
        let membership = "4:memory:/job\n2:cpu,cpuacct:/job\n";
        check_group(membership, &files, Some(700_000));
        check_group("3:cpu:/job\n", &files, None);
    }

    #[test]
    fn no_group_is_no_limit() {
        check_group("", &[], None);
        check_group("rubbish\n", &[], None);
        assert_eq!(cgroup_bytes(Path::new("/nowhere/at/all"), Path::new("/nowhere")), None);
    }

    #[test]
    fn the_default_is_less_than_what_is_allowed() {
        let (limit, allowed) = (default_limit(), allowed_bytes());
        assert!(limit > 0 && limit < allowed, "{limit} of {allowed}");
    }

    #[test]
    fn the_smallest_limit_follows_its_formula() {
        // By hand: one thread's least sums, 6 MiB, four thirds of which are 8.
        assert_eq!(smallest_limit(&Demand::default()), PROGRAM_BYTES + (8 << 20));
        // Two threads, 3 MiB of pages each, 32,768 rows of 128 bytes twice = 8 MiB each; four
        // thirds of 22 MiB is 29 1/3 MiB, which is rounded up.
        let demand =
            Demand { threads: 2, page_bytes: 3 << 20, row_bytes: 128, ..Demand::default() };
        assert_eq!(smallest_limit(&demand), PROGRAM_BYTES + (30 << 20));
    }

    #[test]
    fn a_limit_that_cannot_hold_is_refused_with_one_that_can() {
        let demand = Demand { threads: 2, row_bytes: 128, ..Demand::default() };
        let smallest = smallest_limit(&demand);
        let error = refuse(smallest - 1, &demand).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let hint = error.hint().unwrap();
        let named =
            hint.split("--memory-limit ").nth(1).unwrap().split_whitespace().next().unwrap();
        assert!(refuse(parse_size(named).unwrap(), &demand).is_ok(), "{hint}");
    }
}
