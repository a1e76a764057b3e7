"""Out of the workshop: tables of scores, files for other programs, a server.

    predict.py      rows of files -> a folder of scores (graphrec predict)
    scoring.py      raw rows -> predictions, by a few threads, in order
    stretches.py    how files are divided, so that work can stop and go on
    score_folder.py the folder itself: whole parts, what is done, whose it is
    score_files.py  one part: Parquet or CSV
    outputs.py      what a module returns for a row

Nothing here is needed to train; `train.inference` scores single requests in Python.
"""
