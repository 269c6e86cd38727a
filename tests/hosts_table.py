"""Run the checks of test_hosts.py, and write the table of docs/tested.md.

    python tests/hosts_table.py [junit.xml ...]

Without arguments the checks are run by this Python; with them, the results of
earlier runs (pytest --junitxml), of several Pythons perhaps, are used.
"""

import collections
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

from hosts import HOSTS

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "tested.md"
BEGIN, END = "<!-- hosts: made by `make hosts` -->\n", "<!-- end -->\n"


def run(report):
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest"]
    arguments = ["-q", "--junitxml", report, "test_hosts.py"]
    subprocess.run(command + arguments, cwd=pathlib.Path(__file__).parent)


def read(reports):
    """Host -> how many of its checks passed, and the names of the others."""
    results = collections.defaultdict(lambda: (set(), set()))
    for report in reports:
        tree = xml.etree.ElementTree.parse(report)
        for case in tree.iter("testcase"):
            name, _, parameters = case.get("name").partition("[")
            host = parameters.rstrip("]").split("-", 1)[0]
            passed, failed = results[host]
            if case.find("failure") is None and case.find("error") is None:
                if case.find("skipped") is None:
                    passed.add((name, parameters))
            else:
                failed.add(name.removeprefix("test_").replace("_", " "))
    return results


def table(results, old):
    yield "| host | what you write | checks |"
    yield "|---|---|---|"
    for host in HOSTS:
        passed, failed = results[host.name]
        if not passed and not failed:
            # This Python is too new for it, say: another has run it.
            line = re.search(rf"^\| {re.escape(host.name)} \(.*", old, re.M)
            yield line[0] if line else f"| {host.name} | | not run |"
            continue
        verdict = f"{len(passed)} pass"
        if failed:
            verdict += "; fail: " + ", ".join(sorted(failed))
        if host.until:
            verdict += f" (before {'.'.join(map(str, host.until))})"
        name = host.name
        if host.needs:
            name += f" ({host.needs[0]} {host.version() or '?'})"
        yield f"| {name} | {host.write} | {verdict} |"


def main(reports):
    if reports:
        results = read(reports)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder, "hosts.xml")
            run(report)
            results = read([report])
    page = PAGE.read_text()
    text = "\n".join(table(results, page)) + "\n"
    print(text)
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    new = re.sub(
        pattern,
        lambda match: BEGIN + "\n" + text + "\n" + END,
        page,
        flags=re.S,
    )
    assert BEGIN in new, "the page has no place for the table"
    PAGE.write_text(new)
    return any(failed for _, failed in results.values())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
