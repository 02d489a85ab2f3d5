"""The trial engine: trains and scores candidates on one device. Import its modules; this file loads no torch."""
