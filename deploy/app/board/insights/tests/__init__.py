"""Tests of board.insights."""
