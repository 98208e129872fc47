"""Tests of the agent. No Django here: they run on a machine that has only the agent."""
