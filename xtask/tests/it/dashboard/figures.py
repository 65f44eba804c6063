"""Computes the figures of the dashboard from lines of a history, by the rules of docs/dashboard.md alone.

    python3 figures.py HISTORY UNTIL SINCE BRANCH TASK

UNTIL and SINCE are seconds since 1970, SINCE may be empty, and so may BRANCH and TASK. Nothing of the pipeline is used.
"""

import calendar
import json
import math
import re
import statistics
import sys
import time
from collections import Counter, defaultdict

DAY = 86400
WEEK = 7 * DAY


def seconds(text):
    return calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S"))


def counts(runs):
    verdicts = Counter(run["verdict"] for run in runs)
    gates = [gate for run in runs for gate in run["gates"]]
    return {
        "runs": len(runs),
        "pass": verdicts["pass"],
        "fail": verdicts["fail"],
        "did_not_run": verdicts["did_not_run"],
        "gates": len(gates),
        "cached": sum(gate["cached"] for gate in gates),
        "spent_ms": sum(run["duration_ms"] for run in runs),
    }


def start_of(at, size):
    at -= at % DAY
    return at - DAY * time.gmtime(at).tm_wday if size == "week" else at


def nearest_rank(values, percent):
    return sorted(values)[math.ceil(percent * len(values) / 100) - 1] if values else 0


def costs(runs, since, until):
    weeks = max(1.0, (until - since) / WEEK)
    result = []
    for name in {gate["id"] for run in runs for gate in run["gates"]}:
        gates = [gate for run in runs for gate in run["gates"] if gate["id"] == name]
        ran = [gate for gate in gates if not gate["cached"]]
        verdicts = Counter(gate["verdict"] for gate in ran)
        durations = [gate["duration_ms"] for gate in ran]
        result.append(
            {
                "gate": name,
                "ran": len(ran),
                "cached": len(gates) - len(ran),
                "pass": verdicts["pass"],
                "fail": verdicts["fail"],
                "did_not_run": verdicts["did_not_run"],
                "median_ms": nearest_rank(durations, 50),
                "p95_ms": nearest_rank(durations, 95),
                "total_ms": sum(durations),
                "per_week_ms": math.floor(sum(durations) / weeks + 0.5),
            }
        )
    return sorted(result, key=lambda cost: (-cost["total_ms"], cost["gate"].encode()))


def flaky(runs):
    ran = [(run, gate) for run in runs for gate in run["gates"] if not gate["cached"]]
    result = []
    for name, test in {
        (gate["id"], test) for _, gate in ran for test in gate.get("flaky", [])
    }:
        seen = [
            run
            for run, gate in ran
            if gate["id"] == name and test in gate.get("flaky", [])
        ]
        result.append((name, test, len(seen), max(run["at"] for run in seen)))
    commits = defaultdict(list)
    for run, gate in ran:
        if (
            run["dirty"]
            or "environment" in run
            or not run["commit"]
            or gate["verdict"] == "did_not_run"
        ):
            continue
        commits[gate["id"], run["commit"]].append((gate["verdict"], run["at"]))
    whole = defaultdict(list)
    for (name, _), seen in commits.items():
        if len({verdict for verdict, _ in seen}) == 2:
            whole[name].append(max(at for _, at in seen))
    result += [(name, "", len(last), max(last)) for name, last in whole.items()]
    times = Counter(gate["id"] for _, gate in ran)
    listed = [
        {"gate": g, "test": t, "times": n, "ran": times[g], "last": at}
        for g, t, n, at in result
    ]
    return sorted(
        listed,
        key=lambda one: (-one["times"], one["gate"].encode(), one["test"].encode()),
    )


def of(run):
    return {
        "at": run["at"],
        "run": run["run"],
        "branch": run.get("branch", ""),
        "task": run["task"],
    }


def findings(run):
    levels = ["critical", "high", "medium", "low", "info", "excused"]
    return {
        level: sum(gate.get("findings", {}).get(level, 0) for gate in run["gates"])
        for level in levels
    }


def loads(run):
    load = run["load"]
    if any(gate["id"] == load["gate"] and gate["cached"] for gate in run["gates"]):
        return []
    return [
        {
            **of(run),
            "environment": run.get("environment", ""),
            "profile": load["profile"],
            "engine": load["engine"],
            "requests": load["requests"],
            "failed_rate": load["failed_rate"],
            "latency": load.get("rest"),
            "first_token": load.get("llm", {}).get("time_to_first_token"),
        }
    ]


def fate(release):
    if release["outcome"] in ("verified", "running"):
        return release["outcome"]
    if release.get("restored"):
        return "restored"
    return "not_restored" if release.get("applied") else "refused"


def releases(runs):
    last = {}
    for run in runs:
        if "release" in run:
            last[run["release"]["environment"], run["release"]["id"]] = run["release"]
    result = []
    for release in last.values():
        ended = release.get("ended")
        took = (seconds(ended) - seconds(release["started"])) * 1000 if ended else None
        result.append(
            {
                "at": seconds(release["started"]),
                "id": release["id"],
                "environment": release["environment"],
                "kind": release["kind"],
                "strategy": release["strategy"],
                "digest": release["digest"],
                "commit": release.get("commit", ""),
                "outcome": release["outcome"],
                "fate": fate(release),
                "duration_ms": took,
                "lead_time_ms": release.get("lead_time_ms"),
                "restore_ms": release.get("restore_ms"),
            }
        )
    return sorted(result, key=lambda release: (release["at"], release["id"]))


def delivery(runs, since, until):
    """Deployments and lead times; what failed and how long that lasted has its own test, from a script of releases."""
    result = {}
    for release in releases(runs):
        within = result.setdefault(release["environment"], [])
        ended = (
            release["duration_ms"] is not None
            and release["at"] + release["duration_ms"] // 1000
        )
        if (
            release["kind"] == "release"
            and release["fate"] == "verified"
            and since <= ended <= until
        ):
            within.append(release["lead_time_ms"])
    return {
        name: {
            "deployments": len(times),
            "lead_time": math.floor(statistics.median(times)) if times else None,
        }
        for name, times in result.items()
    }


def planned(runs):
    """The checks that stand in the newest run that had any check of the same kind."""
    monitoring = [run for run in runs if run["task"] == "monitor"]
    seen = [
        (run.get("environment", ""), gate["id"], place)
        for place, run in enumerate(monitoring)
        for gate in run["gates"]
    ]

    def kind(check):
        return re.sub(r"^monitor/", "", check).partition("/")[0]

    newest = defaultdict(int)
    for environment, check, place in seen:
        key = environment, kind(check)
        newest[key] = max(newest[key], place)
    return {
        (environment, check)
        for environment, check, place in seen
        if place == newest[environment, kind(check)]
    }


def incidents(runs):
    looks, still = defaultdict(list), planned(runs)
    for run in runs:
        if run["task"] == "monitor":
            for gate in run["gates"]:
                looks[run.get("environment", ""), gate["id"]].append(
                    (
                        run["at"],
                        gate["verdict"],
                        gate.get("reason", ""),
                        {
                            issue["about"]: issue["url"]
                            for issue in run.get("issues", [])
                            if issue["gate"] == gate["id"]
                        },
                    )
                )
    result = []
    for (environment, check), seen in looks.items():
        if (environment, check) not in still:
            continue
        # From the end: up to the newest pair of passes (a missing verdict between them does not count) nothing is open.
        told = [look for look in seen if look[1] != "did_not_run"]
        pairs = [
            i for i in range(1, len(told)) if told[i][1] == told[i - 1][1] == "pass"
        ]
        since = told[pairs[-1]][0] if pairs else -math.inf
        bad = [look for look in told if look[1] == "fail" and look[0] > since]
        if bad:
            state, first = (
                ("failing" if told[-1][1] == "fail" else "recovering"),
                bad[0][0],
            )
        else:
            tail = []
            for look in reversed(seen):
                if look[1] != "did_not_run":
                    break
                tail.insert(0, look)
            if not tail:
                continue
            state, first, bad = "unwatched", tail[0][0], tail
        last = told[-1][0] if state == "recovering" else bad[-1][0]
        good = max(
            (at for at, verdict, *_ in told if verdict == "pass" and at < first),
            default=None,
        )
        about = "unwatched" if state == "unwatched" else "failing"
        issues = [
            known[about] for at, *_, known in seen if at >= first and about in known
        ]
        result.append(
            {
                "environment": environment,
                "check": check,
                "issue": issues[-1] if issues else "",
                "state": state,
                "since": first,
                "last": last,
                "good": good,
                "times": len(bad),
                "reason": bad[-1][2],
            }
        )
    return sorted(
        result,
        key=lambda one: (
            one["state"] == "unwatched",
            one["since"],
            one["environment"],
            one["check"],
        ),
    )


def main():
    path, until, since, branch, task = sys.argv[1:]
    until = int(until)
    with open(path, encoding="utf-8") as history:
        everything = [json.loads(line) for line in history if line.strip()]
    for run in everything:
        run["at"] = seconds(run["started"])
    everything.sort(key=lambda run: (run["at"], run["run"]))
    first = everything[0]["at"] if everything else until
    start = min(until, max(first, int(since)) if since else first)
    recent = [run for run in everything if run["at"] >= start]
    runs = [
        run
        for run in recent
        if branch in ("", run.get("branch", "")) and task in ("", run["task"])
    ]
    size = "day" if until - start <= 35 * DAY else "week"
    by_start = defaultdict(list)
    for run in runs:
        by_start[start_of(run["at"], size)].append(run)
    print(
        json.dumps(
            {
                "from": start,
                "until": until,
                "counts": counts(runs),
                "bucket": size,
                "buckets": [
                    {"start": at, **counts(by_start[at])} for at in sorted(by_start)
                ],
                "gates": costs(runs, start, until),
                "flaky": flaky(runs),
                "coverage": [
                    {
                        **of(run),
                        "combined": run["coverage"].get("combined"),
                        "legs": run["coverage"].get("legs", {}),
                    }
                    for run in runs
                    if "coverage" in run
                ],
                "findings": [
                    {**of(run), **findings(run)} for run in runs if run["gates"]
                ],
                "loads": [load for run in runs if "load" in run for load in loads(run)],
                "images": [
                    {**of(run), "size_bytes": run["image"]["size_bytes"]}
                    for run in runs
                    if "image" in run
                ],
                "releases": releases(recent),
                "delivery": delivery(everything, start, until),
                "checks": len(planned(everything)),
                "looked": max(
                    (run["at"] for run in everything if run["task"] == "monitor"),
                    default=None,
                ),
                "incidents": incidents(everything),
            }
        )
    )


main()
