"""The small package inside labs: collections, token, start span, Jupyter identity."""
