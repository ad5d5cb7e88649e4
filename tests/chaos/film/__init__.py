"""A film of twelve steps, whose workers are killed at every step and checkpoint.

    python -m tests.chaos --film [--positions N] [--seed N]

plan.py       the film: its paid and its media steps
positions.py  the positions of kills, and which film meets which of them
traps.py      recognises the positions of all films, and holds what reaches one
programs.py   the processes of ffmpeg that work for a worker
killer.py     kills the workers at which something is held
verdicts.py   what is wrong with a film, by the bill, the database and the stored files
report.py     the table
run.py        the whole run
"""
