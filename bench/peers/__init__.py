"""The same tasks by amiss and by others: one small module for each peer, and a page of what came of it."""
