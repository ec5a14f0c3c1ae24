"""One layer at a time: what it computes, which weights stay, and what is lost."""
