from datalabs_testing.edge import edge

__all__ = ["edge"]
