"""Tests of board.core."""
