"""The networks' training: plan, loop, checkpoints, summaries."""
