"""Times workload W by Dealmill and its peers: whole processes, in turn, after their answers agree.

`race.py --deals 2000000 --runs 5`, once with `--ids int` and once with `--ids string`; `--large`
adds ten times the deals. See ../README.md for what it needs and how to read it.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Forms of each peer; the fastest of a peer's forms races.
PEERS = {
    "duckdb": {
        "plain": ["duckdb_w.py", "--form", "plain"],
        "packed": ["duckdb_w.py", "--form", "packed"],
    },
    "polars": {
        "plain, in-memory": ["polars_w.py", "--form", "plain", "--engine", "in-memory"],
        "plain, streaming": ["polars_w.py", "--form", "plain", "--engine", "streaming"],
        "packed, in-memory": ["polars_w.py", "--form", "packed", "--engine", "in-memory"],
        "packed, streaming": ["polars_w.py", "--form", "packed", "--engine", "streaming"],
    },
    "chdb": {
        "arrays": ["chdb_w.py", "--form", "arrays"],
        "window": ["chdb_w.py", "--form", "window"],
    },
}
# The columns that the five tables come from: all but the product.
NEEDED = "deal_id,customer_id,owner_id,region,source,stage_id,event_time,amount"
RUNNERS = [*PEERS, "decode", "all-tables", "one-thread"]


class Run:
    """One finished process."""

    def __init__(self, command):
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        self.seconds = time.perf_counter() - begin
        self.cpu = usage.ru_utime + usage.ru_stime
        # Kibibytes on Linux, bytes on macOS.
        self.mib = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
        if status != 0:
            sys.exit(f"{' '.join(map(str, command))} failed:\n{errors.decode()}")


class History:
    """A generated history and the commands over it."""

    def __init__(self, arguments, deals):
        self.arguments, self.deals = arguments, deals
        self.folder = arguments.scratch / f"{deals}-{arguments.ids}"
        self.events = self.folder / "made/deal_events"
        if not self.events.exists():
            made = Run([
                arguments.dealmill, "generate", "--deals", str(deals), "--ids", arguments.ids,
                "--out", self.folder / "made",
            ])
            print(f"generated {deals:,} deals in {made.seconds:.1f} s, {made.mib:.0f} MiB")
        shutil.copy(HERE / "workload.toml", self.folder / "made/workload.toml")

    def out(self, name):
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def dealmill(self, config="workload.toml", threads=None):
        threads = threads or self.arguments.threads
        out = self.out(f"out-{config}-{threads}")
        command = [self.arguments.dealmill, "run", "--quiet", "-c", self.folder / "made" / config]
        command += ["--out", out]
        if threads:
            command += ["--threads", str(threads)]
        return command

    def peer(self, peer, form):
        script, *options = PEERS[peer][form]
        command = [sys.executable, HERE / script, self.events, self.out(peer), *options]
        threads = self.arguments.threads
        return command + (["--threads", str(threads)] if threads else [])


def decode_program():
    """Builds the bench that decodes the files and nothing else; gives its path."""
    built = subprocess.run(
        ["cargo", "bench", "--bench", "decode", "--no-run", "--message-format", "json"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )
    messages = map(json.loads, built.stdout.splitlines())
    return next(
        message["executable"] for message in messages
        if message.get("executable") and message["target"]["name"] == "decode"
    )


def fastest_form(history, peer):
    """Compares the answers of every form, and gives the one that took least of three runs each."""
    ours = history.out(f"out-workload.toml-{history.arguments.threads}") / "latest"
    seconds = {}
    for form in PEERS[peer]:
        shutil.rmtree(history.out(peer))
        seconds[form] = Run(history.peer(peer, form)).seconds
        compared = subprocess.run([sys.executable, HERE / "agree.py", ours, history.out(peer)])
        if compared.returncode != 0:
            sys.exit(f"{peer}, {form}: the answers differ")
    for form in 2 * list(seconds):
        seconds[form] = min(seconds[form], Run(history.peer(peer, form)).seconds)
    best = min(seconds, key=seconds.get)
    tried = "; ".join(f"{form} {took:.2f} s" for form, took in seconds.items())
    print(f"{peer}: answers agree; least times: {tried}", flush=True)
    return best


def commands(history, decode):
    """What races, by name."""
    arguments = history.arguments
    Run(history.dealmill())
    racing = {"dealmill": history.dealmill()}
    for peer in PEERS:
        if peer in arguments.only:
            form = fastest_form(history, peer)
            racing[f"{peer} ({form})"] = history.peer(peer, form)
    if decode:
        threads = str(arguments.threads or 0)
        racing["decode, 8 columns"] = [decode, history.events, threads, NEEDED]
        racing["decode, 9 columns"] = [decode, history.events, threads]
    if "all-tables" in arguments.only:
        racing["dealmill, all tables"] = history.dealmill("dealmill.toml")
    if "one-thread" in arguments.only:
        racing["dealmill, 1 thread"] = history.dealmill(threads=1)
    return racing


def race(racing, rounds):
    """Runs all in turn, each round beginning with another; gives the runs by name."""
    names = list(racing)
    runs = {name: [] for name in names}
    for name in names:
        Run(racing[name])
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            runs[name].append(Run(racing[name]))
    return runs


def median(runs, measure="seconds"):
    return statistics.median(getattr(run, measure) for run in runs)


def report(runs):
    """A line for each; ratios of medians, and the median of the ratios within a round."""
    ours = runs["dealmill"]
    print(f"\n{'':28} {'seconds':>8} {'least':>7} {'cpu s':>7} {'MiB':>6} "
          f"{'ratio':>6} {'paired':>6} {'cpu':>6} {'MiB':>6}")
    for name, own in runs.items():
        paired = statistics.median(a.seconds / b.seconds for a, b in zip(own, ours))
        seconds, cpu, mib = (median(own, m) for m in ("seconds", "cpu", "mib"))
        print(f"{name:28} {seconds:8.2f} {min(run.seconds for run in own):7.2f} {cpu:7.2f} "
              f"{mib:6.0f} {seconds / median(ours):6.2f} {paired:6.2f} "
              f"{cpu / median(ours, 'cpu'):6.2f} {mib / median(ours, 'mib'):6.2f}")
    print("ratio, paired, cpu, MiB: this line's over that of dealmill")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deals", type=int, default=2_000_000)
    parser.add_argument("--ids", choices=["int", "string"], default="int")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of every runner [default: all cores]")
    parser.add_argument("--large", action="store_true", help="also ten times the deals")
    parser.add_argument("--only", default=",".join(RUNNERS),
                        help="besides dealmill on W [default: %(default)s]")
    parser.add_argument("--scratch", type=pathlib.Path, help="keeps the generated files here")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--dealmill", default=target / "release/dealmill")
    arguments = parser.parse_args()
    arguments.only = arguments.only.split(",")
    unknown = set(arguments.only) - set(RUNNERS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    decode = decode_program() if "decode" in arguments.only else None
    temporary = None
    if not arguments.scratch:
        temporary = tempfile.TemporaryDirectory()
        arguments.scratch = pathlib.Path(temporary.name)
    arguments.scratch = arguments.scratch.resolve()
    history = History(arguments, arguments.deals)
    print(f"W: {arguments.deals:,} deals, {arguments.ids} ids, "
          f"{arguments.threads or os.cpu_count()} threads, {arguments.runs} runs in turn")
    racing = commands(history, decode)
    if arguments.large:
        large = History(arguments, 10 * arguments.deals)
        racing["dealmill, 10 x deals"] = large.dealmill()
    runs = race(racing, arguments.runs)
    report(runs)
    if arguments.large:
        small, large = (median(runs[name]) for name in ("dealmill", "dealmill, 10 x deals"))
        print(f"seconds per deal, 10 x deals over 1 x: {large / small / 10:.2f}")


if __name__ == "__main__":
    main()
