"""Choosing a point of a front, writing it as a file and verifying that file."""
