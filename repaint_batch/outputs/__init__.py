"""What can be done with an output as a whole: its files' names, status, history, decisions, exports, checks and sweeping.

An output holds::

    OUTPUT/results/   the Delta table: one row a sample
    OUTPUT/jobs/      a folder a job
    OUTPUT/images/    restored files or tars, with output.images: files or webdataset
    OUTPUT/masks/     the masks that a job found
    OUTPUT/reviews/   every decision of the review
"""
