"""Eyexam: seven steps from a layer's own limits to what a machine really attains."""
