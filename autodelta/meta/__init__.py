"""What past trials teach: records of them and features of their tasks. Import its modules; this file loads nothing."""
