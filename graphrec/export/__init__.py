"""Out of the workshop: tables of scores, files for other programs, a server.

    predict.py      rows of files -> a folder of scores (graphrec predict)
    scoring.py      raw rows -> predictions, by a few threads, in order
    stretches.py    how files are divided, so that work can stop and go on
    score_folder.py the folder itself: whole parts, what is done, whose it is
    score_files.py  one part: Parquet or CSV
    worker.py       several processes for one job
    outputs.py      what a module returns for a row

    bundle.py       a run -> a folder for other programs (graphrec export)
    program.py      the run as programs of torch.export; edge.py: their inputs and outputs
    formats.py      torch.export, AOTInductor, ONNX; onnx_ops.py: what ONNX has no words for
    proof.py        the bundle's own client against the run, on proof_rows.py
    compared.py     what smaller weights cost
    bundle_files/   the example clients, and the script of the proof

    item_index.py   item vectors and an index over them (graphrec index)
    item_search.py  the best items for rows (graphrec search); result_file.py: what it writes

    server/         a server of scores (graphrec serve)

Nothing here is needed to train; `train.inference` scores single requests in Python.
"""
