"""Samplers: who proposes the next candidates."""
