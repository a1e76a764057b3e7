"""What everything stands on, and needs nothing of ours: mistakes, shapes, numbers for people."""
