"""Datalabs, versions, collections, search."""
