"""What is removed: allocation, criteria, masks, and the wrapper that keeps it removed."""
