"""The edge: Envoy's whole configuration, static, from typed settings (DESIGN section 7)."""

from datalabs_standalone.edge.configuration import build_config, write_config
from datalabs_standalone.edge.settings import EdgeSettings

__all__ = ["EdgeSettings", "build_config", "write_config"]
