"""Tests of board.api."""
