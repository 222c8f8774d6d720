"""Reports: a run's summary, rows of runs, tables, plots and the console."""
