"""Tours: a learner's own cluster explains itself, from evidence, and is broken on purpose and put right again."""
