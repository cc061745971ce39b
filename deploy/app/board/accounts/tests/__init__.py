"""Tests of board.accounts."""
