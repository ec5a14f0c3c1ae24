"""Between layers: what may stay on the chip, and what that can save."""
