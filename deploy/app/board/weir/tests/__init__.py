"""Tests of board.weir."""
