"""Every diagnostic code with its one-line title; `graphrec explain CODE` has a page for each.

GR0 command line, GR1 YAML, GR2 schema, GR3 names, GR4 graph, GR5 shapes, GR6 kernels, GR7 data,
GR8 checkpoint.
A code keeps its meaning for ever; a code that is no longer used is not given away again.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["CODES"]

CODES: Mapping[str, str] = {
    # the command line
    "GR001": "the command line can't be understood",
    "GR002": "a file can't be read or written",
    "GR003": "an internal error",
    "GR004": "a generated file is not up to date",
    # YAML and files
    "GR101": "the text is not YAML",
    "GR102": "a key is written twice",
    "GR103": "YAML tags are not used",
    "GR104": "YAML anchors and aliases are not used",
    "GR105": "YAML merge keys are not used",
    "GR106": "the recipe is too large",
    "GR107": "the bytes are not plain UTF-8 text",
    "GR108": "a recipe is one map",
    "GR109": "a number is not finite, or too large",
    "GR110": "a key is not a plain text",
    "GR111": "a value without its closing parenthesis, most often cut at a comma",
    "GR120": "a file can't be read",
    "GR121": "a file outside the recipe's folder",
    "GR122": "recipes extend each other in a circle",
    "GR130": "the text is no protobuf text",
    "GR131": "a config that can't be imported",
    "GR132": "a setting without counterpart",
    # schema
    "GR201": "unknown key",
    "GR202": "a value of the wrong kind",
    "GR203": "an override can't be applied",
    "GR204": "a value in a form that is not known",
    "GR205": "settings that don't go together",
    "GR206": "something required is missing",
    "GR207": "an expression can't be read",
    "GR208": "nothing to append to, or to delete",
    "GR209": "an environment variable is not set",
    "GR210": "declared twice",
    "GR211": "a patch of a feature that is not declared",
    "GR212": "an unused or unknown parameter of a composite",
    "GR230": "no such loss",
    "GR231": "a parameter of a loss that can't be used",
    "GR232": "a loss that does not fit the task",
    "GR233": "no such metric",
    "GR234": "an argument of a metric that can't be used",
    "GR235": "a metric that does not fit the task",
    "GR236": "classes and kind of a task don't go together",
    "GR237": "a task without a label",
    "GR238": "a metric that no task evaluates",
    "GR239": "a schedule that needs the number of updates",
    "GR240": "a label that is also a feature",
    # names
    "GR301": "nothing has this name",
    "GR302": "no such port or output",
    "GR303": "a feature where a node or group is meant",
    "GR304": "a bundle where one tensor is meant",
    "GR305": "no such block",
    "GR306": "a port without an input",
    "GR307": "two nodes with one name",
    "GR309": "a feature that can't be part of a sequence or cross",
    "GR310": "features that share a table differ",
    "GR311": "a group that can't be made",
    "GR312": "a query that does not match its sequence",
    "GR313": "weights that can't be shared",
    "GR320": "a name that can't be used",
    "GR321": "a name that is taken",
    # graph
    "GR401": "relations form a cycle",
    "GR402": "nodes or groups form a cycle",
    "GR403": "a node that nothing reads",
    "GR404": "blocks that use each other without end",
    "GR405": "a group, feature or composite that nothing reads",
    "GR406": "a task that can't be related",
    "GR407": "a graph that is too large",
    # shapes
    "GR501": "inputs that a block can't use",
    "GR502": "fields of different widths",
    "GR503": "a group without numbers",
    "GR504": "input and output differ in shape",
    "GR505": "shapes that don't fit in an expression",
    "GR506": "a shape that a task can't read",
    "GR507": "a model that does not fit into memory",
    # kernels
    "GR601": "a kernel can't run here, and the policy is strict",
    "GR602": "a kernel can't run here; torch does",
    "GR603": "a glob that matches no node",
    "GR604": "a kernel that no block has",
    "GR605": "measurements of kernels that can't be used",
    "GR606": "a kernel whose results differ from torch's",
    # data
    "GR701": "no data files",
    "GR702": "a file that can't be read",
    "GR703": "a column is missing",
    "GR704": "a column of the wrong kind",
    "GR705": "files disagree about a column",
    "GR706": "rows that can't be used",
    "GR707": "a CSV row with too many or too few cells",
    "GR708": "a value outside the vocabulary",
    "GR710": "data settings that can't be used",
    "GR711": "lists are needed",
    "GR712": "no rows are left",
    "GR720": "the loss is not finite",
    "GR721": "evaluation data is needed",
    # runs and checkpoints
    "GR801": "no such checkpoint",
    "GR802": "a damaged checkpoint",
    "GR803": "a checkpoint can't be saved",
    "GR804": "a checkpoint of another version",
    "GR805": "vocabularies that can't be used",
    "GR806": "the run folder can't be made",
    "GR807": "not a run folder",
    "GR808": "a checkpoint that does not fit",
}
"""Code -> title."""
