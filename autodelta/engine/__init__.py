"""The trial engine: trains and scores candidates on one device. Import its modules directly; this file loads no torch."""
