"""Recipes from elsewhere: configs of TorchEasyRec and EasyRec, columns of data files."""
