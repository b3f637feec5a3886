"""The sample company: a seeded generator of what real systems write, dirty on purpose, with the truth beside it."""
