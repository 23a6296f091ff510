"""Shows that runs keep to their memory limit: peak memory, time, and the same tables as without one;
and that nothing is left in the scratch folder however a run ends.

`memory.py` takes some minutes and 3 GB of disk; `--small` leaves the 20 million deals out. Needs
Python alone, and Linux for the ends of runs. See README.md.
"""

import argparse
import hashlib
import os
import pathlib
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
# Peak memory may exceed the limit by a quarter, time what it is without a limit by this.
MEMORY_RATIO = 1.25
TIME_RATIO = 2.5
MIB = 1 << 20

# Every table by every single dimension, month and quarter, durations in days.
EVERY_TABLE = """
[run]
as_of = "2025-01-01T00:00:00Z"
[pipeline]
stages = ["lead", "qualified", "proposal", "negotiation"]
won = ["won"]
lost = ["lost"]
[dimensions]
columns = ["region", "source", "owner_id"]
[inputs.deal_events]
path = "deal_events"
"""

SKEWED = """
[run]
as_of = "2024-12-31T00:00:00Z"
periods = ["month"]
[pipeline]
stages = ["lead", "proposal"]
won = ["won"]
lost = ["lost"]
[dimensions]
columns = ["region"]
slices = [[], ["region"]]
[inputs.deal_events]
path = "deal_events"
"""


def run(command):
    """Seconds and peak MiB of a process, which must end well."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{errors.decode()}")
    # Kibibytes on Linux, bytes on macOS.
    peak = usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024
    return time.perf_counter() - begin, peak / MIB


def digests(out):
    """The published tables and what is in them."""
    tables = sorted((out / "latest").glob("*.parquet"))
    return {table.name: hashlib.sha256(table.read_bytes()).hexdigest() for table in tables}


def workload(folder):
    """Workload W over a generated history."""
    text = (HERE / "peers" / "workload.toml").read_text()
    config = folder / "workload.toml"
    config.write_text(text)
    return config


def events(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write("deal_id,event_time,stage_id,customer_id,amount,region\n")
        file.writelines(rows)


def row(deal, second, stage, customer):
    day, second = divmod(second, 86_400)
    at = f"2024-{day // 28 % 12 + 1:02}-{day % 28 + 1:02}T{second // 3600:02}:{second // 60 % 60:02}:00Z"
    return f"{deal},{at},{stage},{customer},{deal % 997}.50,{'nesw'[deal % 4]}\n"


def history(deals, customer=lambda deal: deal):
    """Deals of two or three events each, in no order of time."""
    dice = random.Random(3)
    for deal in range(deals):
        begin = dice.randrange(200 * 86_400)
        yield row(deal, begin, "lead", customer(deal))
        if deal % 3:
            yield row(deal, begin + 86_400 * 5, "proposal", customer(deal))
        yield row(deal, begin + 86_400 * 20, "won" if deal % 2 else "lost", customer(deal))


def long_deal(folder):
    events(folder / "deal_events" / "all.csv", history(200_000))
    steps = (row(7, n * 17, ("lead", "proposal")[n % 2], 7) for n in range(1_000_000))
    events(folder / "deal_events" / "long.csv", steps)


def large_customer(folder):
    # Every tenth deal that is won is of customer 0.
    customer = lambda deal: 0 if deal % 20 == 1 else deal
    events(folder / "deal_events" / "all.csv", history(800_000, customer))


def one_file(folder):
    events(folder / "deal_events" / "all.csv", history(1_000_000))


def many_files(folder):
    rows = list(history(400_000))
    step = len(rows) // 10_000
    for number in range(10_000):
        own = rows[number * step :] if number == 9_999 else rows[number * step : (number + 1) * step]
        events(folder / "deal_events" / f"{number:05}.csv", own)


SHAPES = {
    "one deal with a million events": long_deal,
    "one customer with a tenth of all orders": large_customer,
    "one file": one_file,
    "ten thousand files": many_files,
}


def compare(dealmill, name, config, folder, limit):
    """Runs without and with a limit, prints a line, and says whether the claims hold."""
    free, bound = folder / "out-free", folder / "out-bound"
    base = [dealmill, "run", "-q", "-c", config]
    free_seconds, free_mib = run([*base, "--out", free])
    seconds, mib = run([*base, "--memory-limit", f"{limit}MiB", "--out", bound])
    same = digests(free) == digests(bound) and len(digests(free)) > 0
    left = [p.name for p in bound.iterdir() if p.name not in ("runs", "latest", "latest.json")]
    left = [name for name in left if not name.startswith(".")]
    holds = same and not left and mib <= limit * MEMORY_RATIO and seconds <= free_seconds * TIME_RATIO
    print(
        f"| {name} | {limit} | {mib:.0f} | {mib / limit:.2f} | {free_mib:.0f} | {seconds:.1f} "
        f"| {seconds / free_seconds:.2f} | {'same' if same else 'DIFFER'} "
        f"| {'yes' if holds else 'NO'} |",
        flush=True,
    )
    return holds


def refusal(dealmill, config, out, limit):
    """What a run under a limit is refused with, or None; and the seconds it took."""
    begin = time.perf_counter()
    command = [dealmill, "run", "-q", "-c", config, "--memory-limit", f"{limit}MiB", "--out", out]
    process = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    if process.returncode == 0:
        return None, seconds
    named = re.search(r"--memory-limit (\d+)MiB", process.stderr)
    if process.returncode != 2 or not named:
        sys.exit(f"expected a refused limit:\n{process.stderr}")
    return int(named.group(1)), seconds


def smallest(dealmill, name, config, folder):
    """Follows the hints from 1 MiB on to the first limit that is accepted, and holds a run to it."""
    limit, steps = 1, []
    while True:
        named, seconds = refusal(dealmill, config, folder / "out-bound", limit)
        if named is None:
            break
        steps.append(f"{limit} MiB refused after {seconds:.1f} s for {named} MiB")
        if named <= limit or len(steps) > 3:
            sys.exit(f"{name}: the hints lead nowhere: {steps}")
        limit = named
    print(f"<!-- {name}: {'; '.join(steps)} -->", flush=True)
    return compare(dealmill, f"{name}, smallest limit", config, folder, limit)


def spills_into(process, scratch):
    """Whether the process holds a file without a name in the scratch folder that is not empty."""
    folder = pathlib.Path(f"/proc/{process.pid}/fd")
    try:
        for handle in folder.iterdir():
            if os.readlink(handle).startswith(f"{scratch}/") and handle.stat().st_size > 0:
                return True
    except (FileNotFoundError, PermissionError):
        pass
    return False


def end_of_run(dealmill, name, config, folder, how, expected):
    """Ends a run that is spilling, and looks at what is left."""
    scratch, out = (folder / "scratch").resolve(), folder / "out-ended"
    scratch.mkdir(exist_ok=True)
    base = [dealmill, "run", "-q", "-c", config, "--out", out, "--memory-limit", "256MiB"]
    limits = None
    if how == "full disk":
        # Writing beyond this fails as on a full disk, instead of ending the process.
        limits = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MIB, 4 * MIB))
    process = subprocess.Popen(
        [*base, "--set", f"run.scratch={scratch}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limits,
        restore_signals=False,
    )
    seen = False
    while process.poll() is None:
        seen = seen or spills_into(process, scratch)
        if seen and isinstance(how, signal.Signals):
            process.send_signal(how)
            break
    errors = process.stderr.read()
    code = process.wait()
    left = len(list(scratch.iterdir()))
    published = (out / "latest").exists()
    hint = how != "full disk" or "[run] scratch" in errors
    holds = seen and code == expected and left == 0 and not published and hint
    ended = how.name if isinstance(how, signal.Signals) else how
    print(f"| {name}, {ended} | exit {code} | {left} left | {'yes' if holds else 'NO'} |", flush=True)
    return holds


ENDS = [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT), ("full disk", 5)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dealmill", default=ROOT / "target" / "release" / "dealmill")
    parser.add_argument("--scratch", type=pathlib.Path, help="keeps the generated files here")
    parser.add_argument("--small", action="store_true", help="without the 20 million deals")
    arguments = parser.parse_args()
    temporary = None if arguments.scratch else tempfile.TemporaryDirectory()
    scratch = arguments.scratch or pathlib.Path(temporary.name)
    print("| what | limit MiB | peak MiB | of limit | peak without | s | of time without | tables | holds |")
    print("|---|---|---|---|---|---|---|---|---|")
    results = []
    sizes = [(2_000_000, 256)] + ([] if arguments.small else [(20_000_000, 1024)])
    for deals, limit in sizes:
        folder = scratch / str(deals)
        if not (folder / "deal_events").exists():
            run([arguments.dealmill, "generate", "-q", "--deals", str(deals), "--out", folder])
        name = f"W, {deals:,} deals"
        results.append(compare(arguments.dealmill, name, workload(folder), folder, limit))
    for name, make in SHAPES.items():
        folder = scratch / make.__name__
        if not (folder / "deal_events").exists():
            make(folder)
        config = folder / "dealmill.toml"
        config.write_text(SKEWED)
        results.append(compare(arguments.dealmill, name, config, folder, 256))
    folder = scratch / "200000"
    if not (folder / "deal_events").exists():
        run([arguments.dealmill, "generate", "-q", "--deals", "200000", "--out", folder])
    config = folder / "every.toml"
    config.write_text(EVERY_TABLE)
    results.append(compare(arguments.dealmill, "every table, 200,000 deals", config, folder, 256))
    results.append(smallest(arguments.dealmill, "every table, 200,000 deals", config, folder))
    generated = folder / "dealmill.toml"
    name = "every table as generated, 200,000 deals"
    results.append(smallest(arguments.dealmill, name, generated, folder))
    if sys.platform == "linux":
        print("\n| end | code | scratch folder | holds |\n|---|---|---|---|")
        folder = scratch / "2000000"
        for how, expected in ENDS:
            config = workload(folder)
            results.append(end_of_run(arguments.dealmill, "W", config, folder, how, expected))
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
