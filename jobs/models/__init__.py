"""Job, JobAttempt, Agent, Output, SchedulerState."""

from jobs.models.agent import Agent, SchedulerState
from jobs.models.attempt import JobAttempt
from jobs.models.job import Job
from jobs.models.output import Output

__all__ = ["Agent", "Job", "JobAttempt", "Output", "SchedulerState"]
