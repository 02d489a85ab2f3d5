"""Many trials to a plan. Import its modules; this file loads nothing."""
