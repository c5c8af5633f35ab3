"""JupyterLab as a lab: `python -m datalabs_lab.jupyter --ip A --port P [--open PATH]`.

The person is known by the secret that the edge adds to every request, never by a Jupyter token: an injected token
would switch Jupyter's own XSRF and Origin checks off. Settings that only cost time at start are off (together they and
a compiled environment bring the start from 1.6 s to 0.4 s).
"""

import argparse
import hmac
import os
import time
from typing import Any

from datalabs_lab.place import home
from datalabs_lab.spans import process_started_ns, send_span

SECRET_HEADER = "X-Lab-Secret"  # noqa: S105 - a header's name
_SECRET_VARIABLE = "DATALABS_LAB_SECRET"  # noqa: S105


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


def configuration(*, address: str, port: int, secret: str, username: str, open_path: str) -> Any:
    """Return JupyterLab's whole configuration."""
    from traitlets.config import Config

    config = Config()
    server = config.ServerApp
    server.ip = address
    server.port = port
    server.port_retries = 0
    server.open_browser = False
    server.allow_remote_access = True
    server.root_dir = str(home())
    server.default_url = open_path
    server.identity_provider_class = identity_provider(secret, username)
    server.log_level = "WARN"
    server.jpserver_extensions = {"jupyterlab": True, "notebook_shim": False, "jupyter_lsp": True}
    server.terminado_settings = {"shell_command": ["/bin/bash"]}
    config.IdentityProvider.token = ""
    config.KernelManager.transport = "ipc"
    config.LanguageServerManager.autodetect = False
    config.LabApp.extension_manager = "readonly"
    config.LabApp.news_url = None
    config.LabApp.check_for_updates_class = "jupyterlab.handlers.announcements.NeverCheckForUpdate"
    config.FileContentsManager.delete_to_trash = False
    return config


def main() -> None:
    """Run JupyterLab until it is asked to end."""
    parser = argparse.ArgumentParser(description="JupyterLab as a lab.")
    parser.add_argument("--ip", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--open", default="/lab")
    options = parser.parse_args()
    from jupyterlab.labapp import LabApp

    # Kernels inherit the environment; the secret is for this process only.
    secret = os.environ.pop(_SECRET_VARIABLE, "")
    config = configuration(
        address=options.ip,
        port=options.port,
        secret=secret,
        username=os.environ.get("DATALABS_USER", "scientist"),
        open_path=options.open,
    )

    class Lab(LabApp):  # type: ignore[misc,unused-ignore]
        """JupyterLab that tells the launch's trace how long its own start took."""

        name = "jupyterlab"

        def start(self) -> None:
            from tornado.ioloop import IOLoop

            ended = time.time_ns()
            # Not before the first pages are served: the sender's imports must not slow the start.
            IOLoop.current().call_later(2.0, send_span, "lab.start", process_started_ns(), ended)
            super().start()

    Lab.launch_instance(argv=[], config=config)


if __name__ == "__main__":
    main()
