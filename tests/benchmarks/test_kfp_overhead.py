"""The benchmark of kfp's overhead reads a run's output."""

from __future__ import annotations

from benchmarks.kfp_overhead import overheads

OUTPUT = """23:59:58.000 - INFO - Executing task \x1b[96m'resolve'\x1b[0m
    resolve: 1.5 s, CPU 1.2 s, memory 0.2 GB
23:59:59.900 - INFO - Task \x1b[96m'resolve'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
23:59:59.950 - INFO - Executing task \x1b[96m'tuning'\x1b[0m
            tuning: 100%|##########| 4/4 [00:37<00:00,  9.28s/step, total=1.580]
            tuning: 12.0 s, CPU 9.8 s, memory 1.0 GB, GPU 3.0 GB
00:00:12.450 - INFO - Task \x1b[96m'tuning'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
00:00:12.451 - INFO - Task \x1b[96m'tuning'\x1b[0m has no outputs
"""


def test_own_time_and_what_kfp_adds() -> None:
    tasks = overheads(OUTPUT.splitlines())
    rounded = {name: (own, round(added, 3)) for name, (own, added) in tasks.items()}
    assert rounded == {"resolve": (1.5, 0.4), "tuning": (12.0, 0.5)}
