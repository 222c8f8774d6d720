"""Weight sharing, the coders of what is left, and the `.tfprune` file they are kept in."""
