"""How fast we are, side by side with others: `make bench`.

Every measurement is a process of its own, on one thread, that prints its numbers as one line of JSON. `plan.py` lists
who is compared with whom, `timing.py` runs them in turn (A, B, A, B, …), `table.py` writes the results. Nothing in
`lib/` knows of this folder.
"""
