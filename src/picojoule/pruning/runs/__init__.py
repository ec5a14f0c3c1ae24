"""Runs as folders that go on after a crash, and the processes that work for them."""
