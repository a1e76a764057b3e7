"""Rows of files, or generated ones, as batches of tensors.

data = open_data(recipe)                                   # files found, columns checked
encoder = Encoder.fit(recipe, data.train)                  # vocabularies, statistics
loader = Loader(recipe, encoder, data.train, 4096, shuffle=True, seed=0)
for batch in loader.epoch(0): ...
"""

from graphrec.data.chunk import NULL_KEY
from graphrec.data.counts import Counts
from graphrec.data.dataset import DataSet, open_data, open_files, open_items
from graphrec.data.encoder import Encoder
from graphrec.data.files import fingerprint
from graphrec.data.items import Items
from graphrec.data.loader import Loader
from graphrec.data.loops import batches, fitted, source_of
from graphrec.data.memory_tables import NoSource, Rows, as_table
from graphrec.data.negatives import Negatives
from graphrec.data.remarks import Remark, data_remarks
from graphrec.data.seen import SeenValues
from graphrec.data.source import Source

__all__ = [
    "NULL_KEY",
    "Counts",
    "DataSet",
    "Encoder",
    "Items",
    "Loader",
    "Remark",
    "Negatives",
    "NoSource",
    "Rows",
    "SeenValues",
    "Source",
    "as_table",
    "batches",
    "data_remarks",
    "fingerprint",
    "fitted",
    "open_data",
    "open_files",
    "open_items",
    "source_of",
]
