"""Tests of board.posts."""
