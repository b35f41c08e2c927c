"""Several sites as one cohort: what ``dysconnect combine`` makes of the files that they have sent.

`checks` refuses files that do not belong together, `cohort` makes one analysis of the others, `page` and `written` show
it.
"""
