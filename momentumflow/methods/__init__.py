"""Discrete time: the linear-memory engine, momentum methods, schedules, conversions, iterate."""
