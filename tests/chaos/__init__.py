"""Chaos: the real stack, faults at exact moments, and a judge that believes outside witnesses
alone.

    python -m tests.chaos --trials 10        every exact crash point; a table; exit code 1 if
                                             anything is red or void
    python -m tests.chaos --case NAME        one of them (--list names them)

gate.py, links.py, *_tap(s).py   proxies before PostgreSQL, Temporal, S3 and the providers, that
                                 hold a named moment
arena.py                         the processes; each talks to its servers through proxies of its own
cases.py, faults.py, rounds.py   what is held where, what then dies, one round of it
load.py, oracle.py               the customer, the judge
results.py, report.py            what each case has shown, the table

For what else lives here: `running_arena(say, product_root=FOLDER)` starts the stack with the
sources of another folder (a copy with a planted bug); `Session.of(arena, Random(seed), say)` and
`await session.round(by_name([...]), 4)` run cases on it; `session.results[name].is_red` is the
verdict. `report.table_rows` takes any list of `CaseResult`.
"""
