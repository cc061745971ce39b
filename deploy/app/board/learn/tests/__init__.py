"""Tests of board.learn."""
