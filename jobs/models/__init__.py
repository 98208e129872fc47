"""Jobs, their attempts and outputs; agents and how the fleet of them is run."""

from jobs.models.agent import Agent, SchedulerState
from jobs.models.attempt import JobAttempt
from jobs.models.fleet import (
    CostEstimate,
    FleetEvent,
    FleetPolicy,
    FleetSnapshot,
    JoinToken,
    ModelPin,
    OrganizationShare,
    RunRecord,
)
from jobs.models.grid import Grid, GridCell
from jobs.models.input import InputRole, JobInput
from jobs.models.job import Job
from jobs.models.output import Output
from jobs.models.wildcard import Wildcard

__all__ = [
    "Agent",
    "CostEstimate",
    "FleetEvent",
    "FleetPolicy",
    "FleetSnapshot",
    "Grid",
    "GridCell",
    "InputRole",
    "Job",
    "JobAttempt",
    "JobInput",
    "JoinToken",
    "ModelPin",
    "OrganizationShare",
    "Output",
    "RunRecord",
    "SchedulerState",
    "Wildcard",
]
