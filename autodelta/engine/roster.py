"""The trials that a worker trains at a time, on one clock of steps: who goes with whom, and what happens next.

A trial's time is the clock at which it entered, plus its steps. Those that are behind step first, and what happens
comes out by (time, number), one thing at a time. So the order of all that happens follows from when trials entered,
also after a kill, when each of them goes on from another step.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from autodelta.backbones import Backbone
from autodelta.engine.activations import Activations
from autodelta.engine.assignment import Assignment
from autodelta.engine.costs import MOST, PLAIN, Costs, Work
from autodelta.engine.course import Course
from autodelta.engine.encode import Encoded, batches
from autodelta.engine.pack import Pack, Stepped
from autodelta.engine.packing import Demand
from autodelta.engine.report import Report
from autodelta.engine.schedule import order_seed
from autodelta.engine.train import Trial


class News(NamedTuple):
    """What happened to a trial: it reported, or ended with an error."""

    number: int
    found: Report | Exception


@dataclass(eq=False)
class Member:
    """A trial of a roster."""

    assignment: Assignment
    trial: Trial
    course: Course
    demand: Demand  # when it was new, so that who goes with whom does not depend on how far it got
    entered: int = 0  # on the clock
    stepped: Stepped | None = None  # not yet looked at
    told: deque[Report] = field(default_factory=deque)  # reports from before a break, which come first

    @property
    def number(self) -> int:
        return self.assignment.number

    @property
    def turn(self) -> tuple[int, bool, int]:
        """Who comes next: by time; what has happened before who has yet to step; by number."""
        return self.entered + self.trial.step, self.stepped is None, self.number


class Roster:
    """Trains its members in packs where that pays; they enter and leave between two things that happen.

    Args:
        backbone: that of all trials.
        train: their rows.
        kept: activations of the frozen part.
        costs: of this machine, which say what pays; ``PLAIN``: it is not calibrated, and nothing does.
    """

    def __init__(self, backbone: Backbone, train: Encoded, *, kept: Activations, costs: Costs) -> None:
        self._backbone, self._train, self._kept, self._costs = backbone, train, kept, costs
        self.members: dict[int, Member] = {}
        self._works: dict[Member, Work] = {}  # of their first steps
        self._packs: dict[tuple[Member, ...], Pack] = {}

    def enter(self, member: Member) -> None:
        """The trial trains from now on."""
        trial, entered = member.trial, member.assignment.entered
        now = min((other.turn[0] for other in self.members.values()), default=0)
        member.entered = now - trial.step if entered is None else entered
        member.told.extend(trial.reported)
        self.members[member.number] = member

    def leave(self, number: int) -> None:
        """The trial is gone."""
        self._works.pop(self.members.pop(number), None)
        self._packs.clear()

    def clear(self) -> None:
        """All are gone."""
        for number in tuple(self.members):
            self.leave(number)

    def room(self) -> bool:
        """Whether it would pay if another trial entered: one like at least half of those that are there."""
        members = self.members.values()
        if self._costs is PLAIN or len(members) >= MOST or any(member.assignment.alone for member in members):
            return not members
        works = [self._work(member) for member in members]
        packs = len(self._costs.groups(works))
        joins = [len(self._costs.groups([*works, work._replace(memory=None)])) == packs for work in works]
        return 2 * sum(joins) >= len(works)

    def advance(self) -> News:
        """Trains until something happens, and says what. A trial that ended with an error has left."""
        while True:
            member = min(self.members.values(), key=lambda member: (not member.told, *member.turn))
            if member.told:
                return News(member.number, member.told.popleft())
            if member.stepped is None:
                self._step(member.turn[0])
                continue
            stepped, member.stepped = member.stepped, None
            try:
                report = member.course.take(stepped)
            except Exception as error:
                self.leave(member.number)
                return News(member.number, error)
            if report is not None:
                return News(member.number, report)

    def _step(self, time: int) -> None:
        """A step of all that are at this time."""
        due = tuple(member for member in self.members.values() if member.turn[0] == time)
        if {member for together in self._packs for member in together} != {*due}:
            self._packs = {together: self._packed(together) for together in self._together(due)}
        for together, pack in self._packs.items():
            members = {member.trial: member for member in together}
            try:
                found = pack.step()
            except Exception as error:  # of the pass itself, which can be blamed on none of them
                found = [Stepped(trial, trial.step, math.nan, 0.0, 0.0, error) for trial in members]
            for stepped in found:
                members[stepped.trial].stepped = stepped

    def _together(self, due: tuple[Member, ...]) -> list[tuple[Member, ...]]:
        """Who goes with whom."""
        if len(due) == 1:
            return [due]
        due = tuple(sorted(due, key=lambda member: member.number))
        groups = self._costs.groups([self._work(member) for member in due])
        return [tuple(due[index] for index in group) for group in groups]

    def _work(self, member: Member) -> Work:
        """What its first step needs. The encoder's output is one for those that see the same batch at the same time."""
        if member not in self._works:
            trial = member.trial
            size, seed = trial.candidate.training.batch_size, order_seed(trial.seed)
            work = member.demand.on(next(batches(self._train, batch_size=size, seed=seed)))
            self._works[member] = work._replace(memory=work.memory and (member.entered, work.memory))
        return self._works[member]

    def _packed(self, members: tuple[Member, ...]) -> Pack:
        pack = Pack(self._backbone, kept=self._kept, costs=self._costs)
        for member in members:
            pack.enter(member.trial, self._train)
        return pack
