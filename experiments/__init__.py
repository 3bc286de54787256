"""One folder an experiment; `make experiment-NAME` runs one."""
