"""Website fingerprinting of real pages at an observer's tap: Chromium over Tor against Browser (R14).

sites.py web.py      the sites: fetched from package archives, served on loopback
cells.py tap.py      what an observer before the guard sees, cell by cell
cases.py lane.py covered.py      the cases, and how one visit of each is made
collect.py store.py  all visits, resumable; how traces are kept
derive.py            the cases that follow from another's traces
real.py              the cases that are not fetched beside Browser itself
features.py attacks.py deep.py original.py   what the attackers look at, and the attackers
world.py judge.py report.py      an open world; folds, intervals, bounds; the tables and the plot
"""
