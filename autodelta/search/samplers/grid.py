"""Every candidate of a finite space, then all of them again at the next seed; the search ends when all are done."""

from autodelta.search.samplers import Sampler

SAMPLER = Sampler(help="every candidate of a finite space, repeated over seeds, then ends", build=None)
