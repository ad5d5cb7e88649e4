"""Fault injection on the real stack, judged by independent evidence.

    python -m tests.chaos --trials 10        every exact crash point; a table; exit code 1 if
                                             any case is red or void
    python -m tests.chaos --case NAME        one case (--list prints the names)

testbed.py                       the processes, each with its own proxies to its servers
links.py, *_tap(s).py, traps.py  the proxies, which recognise and hold named moments
cases.py, faults.py, rounds.py   the crash points, the faults, one round of cases
random_faults.py                 random faults under load
read_faults.py                   faulty answers to the provider's reads
load.py, judge.py                the customers, the judge
results.py, report.py            results by case, the table
planted.py                       planted bugs that the judge must notice
film/                            a film, killed at every step and checkpoint
baseline/                        the bare Temporal workflow, for comparison

For other programs: `running_testbed(say, product_root=FOLDER)` starts the stack with the sources
of another folder (a copy with a planted bug); `Session.of(testbed, Random(seed), say)` and
`await session.round(by_name([...]), 4)` run cases on it; `session.results[name].is_red` is the
verdict. `report.table_rows` takes any list of `CaseResult`.
"""
