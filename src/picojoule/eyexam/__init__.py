"""Eyexam: seven steps from a layer's own limits to what an accelerator really attains."""
