"""The version of the package; the build reads it from here, and records name it."""

VERSION = "0.1.0"
