"""Other mappers, each in an environment of its own, on machines that all can express."""
