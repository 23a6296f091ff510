"""Shows that runs keep to their memory limit: peak memory, time, and the same tables as without one.

`memory.py` takes some minutes and 3 GB of disk; `--small` leaves the 20 million deals out. Needs
Python alone. See README.md.
"""

import argparse
import hashlib
import os
import pathlib
import random
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
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
