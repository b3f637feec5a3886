"""From a published number back to the rows, files, models and commit behind it.

``explain`` answers for one row of one published table; what contributes to the rows of a table stands in one module a
table in ``tables``. Does not belong here: how a number is computed (dbt's macros say it; ``formulas`` renders them) and
whether it may be published (the gates).
"""
