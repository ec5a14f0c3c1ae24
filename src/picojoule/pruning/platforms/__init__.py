"""What a network costs where it will run: an accelerator, a device, a table, a function."""
