"""NetAdapt: a network made smaller until it meets a budget measured on the platform."""
