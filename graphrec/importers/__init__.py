"""Recipes from elsewhere: configs of TorchEasyRec (tzrec/), columns of data files (from_data/)."""
