"""What can be done with an output as a whole: its files' names, status, history, decisions, exports, checks and sweeping.

An output holds::

    OUTPUT/results/   the Delta table: one row a sample
    OUTPUT/jobs/      a folder a job
    OUTPUT/images/    restored files or tars, with output.images: files or webdataset
    OUTPUT/masks/     masks that jobs found, and those that reviewers corrected
    OUTPUT/nights/    a summary a night
    OUTPUT/reviews/   every decision of the review
"""
