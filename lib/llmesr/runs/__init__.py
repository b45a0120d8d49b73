"""Runs: a run is backbone × method × seed under some settings. It is trained once, whoever asks for it.

`store.py` knows a run by a fingerprint of its settings, its data and the code that trains it; `training.py` trains one;
`pool.py` trains many at a time.
"""
