"""Estimates of when an execution ends, with an error band."""
