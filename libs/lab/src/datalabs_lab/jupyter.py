"""JupyterLab as a lab: `python -m datalabs_lab.jupyter [--ip A] [--port P] [--open PATH]`.

The person is known by the secret that the edge adds to every request, never by a Jupyter token: an injected token
would switch Jupyter's own XSRF and Origin checks off. Settings that only cost time at start are off (together they and
a compiled environment bring the start from 1.6 s to 0.4 s).
"""

import argparse
import hmac
import os
import sys
import time
from pathlib import Path
from typing import Any

from datalabs_lab import packages
from datalabs_lab.place import home, lab_secret
from datalabs_lab.spans import process_started_ns, send_span

SECRET_HEADER = "X-Lab-Secret"  # noqa: S105 - a header's name
_PATH_VARIABLE = "DATALABS_PATH"
_PAGES_VARIABLE = "DATALABS_JUPYTER_PAGES"


def identity_provider(secret: str, username: str) -> type[Any]:
    """Return a Jupyter identity provider that knows one person by the lab's secret."""
    from jupyter_server.auth.identity import IdentityProvider, User

    class LabIdentityProvider(IdentityProvider):  # type: ignore[misc,unused-ignore]
        """Whoever brings the lab's secret is the lab's owner; nobody else gets an answer."""

        @property
        def auth_enabled(self) -> bool:
            return True

        async def get_user(self, handler: Any) -> User | None:
            given = handler.request.headers.get(SECRET_HEADER, "")
            if secret and hmac.compare_digest(given.encode(), secret.encode()):
                return User(username=username, name=username, display_name=username)
            return None

        def is_token_authenticated(self, _handler: Any) -> bool:
            return False

    return LabIdentityProvider


def configure(config: Any) -> None:
    """Fill a Jupyter configuration from the lab's environment; the secret leaves that environment, kernels inherit it."""
    server = config.ServerApp
    server.port_retries = 0
    server.open_browser = False
    server.allow_remote_access = True
    server.root_dir = str(home())
    server.identity_provider_class = identity_provider(
        lab_secret(), os.environ.get("DATALABS_USER", "scientist")
    )
    server.log_level = "WARN"
    # The classic pages cost 0.1 s; only a lab that opens one of them (a terminal) wants them.
    server.jpserver_extensions = {
        "notebook_shim": False,
        "notebook": os.environ.get(_PAGES_VARIABLE) == "classic",
        "datalabs_lab": True,
    }
    server.terminado_settings = {"shell_command": ["/bin/bash"]}
    config.IdentityProvider.token = ""
    config.KernelManager.transport = "ipc"
    config.LanguageServerManager.autodetect = False
    config.LabApp.extension_manager = "readonly"
    config.LabApp.news_url = None
    config.LabApp.check_for_updates_class = "jupyterlab.handlers.announcements.NeverCheckForUpdate"
    config.FileContentsManager.delete_to_trash = False


def load_extension(server: Any) -> None:
    """Tell the launch's trace how long Jupyter's own start took, and give kernels and terminals the whole PATH again."""
    ended = time.time_ns()
    server.io_loop.add_callback(os.environ.update, PATH=os.environ.pop(_PATH_VARIABLE, os.environ["PATH"]))
    # Not before the first pages are served: the sender's imports must not slow the start.
    server.io_loop.call_later(2.0, send_span, "lab.start", process_started_ns(), ended)


def main() -> None:
    """Run JupyterLab until it is asked to end."""
    parser = argparse.ArgumentParser(description="JupyterLab as a lab.")
    parser.add_argument("--ip", default=os.environ.get("DATALABS_ADDRESS", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("DATALABS_PORT", "8888")))
    parser.add_argument("--open", default="/lab", help="where / leads")
    options, more = parser.parse_known_args()
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        packages.offer(os.environ, Path(runtime))
    # With Node on PATH JupyterLab and its language servers start it twice, for 0.25 s of nothing that a lab needs.
    os.environ[_PATH_VARIABLE] = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = str(Path(sys.executable).parent)
    # `labconfig/page_config.json` there turns off the question about news, which a lab has nowhere to ask.
    configured = [os.environ.get("JUPYTER_CONFIG_PATH"), str(Path(__file__).with_name("jupyter_config"))]
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, configured))
    from jupyterlab.labapp import LabApp

    LabApp.launch_instance(
        argv=[
            f"--config={Path(__file__).with_name('jupyter_server_config.py')}",
            f"--ServerApp.ip={options.ip}",
            f"--ServerApp.port={options.port}",
            f"--ServerApp.default_url={options.open}",
            *more,
        ]
    )


if __name__ == "__main__":
    main()
