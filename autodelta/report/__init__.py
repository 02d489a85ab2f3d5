"""What people look at: the live display of a search, and tables of runs, tasks and spaces in a terminal."""
