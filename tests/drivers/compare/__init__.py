"""Drivers' feature checks and test suites, run directly and through pgweir, side by side."""
