"""A person's own packages in a container: a virtual environment in the home, laid over the image's.

pip there installs natively and upgrades by shadowing: the image's packages lie outside that environment, so pip never
tries to remove them. A .pth lets them shine through. Process labs get the same from the platform before they start.
"""

import json
import os
import sys
from pathlib import Path

FOLDER_VARIABLE = "DATALABS_PACKAGES"
_PIP = "#!{folder}/bin/python\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n"


def site_of(prefix: Path) -> Path:
    """Return where an environment of this Python keeps its packages."""
    return prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def lay(folder: Path, *, under: Path = Path(sys.prefix)) -> None:
    """Lay the environment over the one in `under`; one that is there and fits stays as it is.

    Raises OSError when the home cannot be written.
    """
    interpreter = Path(os.path.realpath(sys.executable))
    wanted = f"home = {interpreter.parent}\ninclude-system-site-packages = false\nversion = {sys.version.split()[0]}\nunder = {under}\n"
    settings = folder / "pyvenv.cfg"
    if settings.is_file() and settings.read_text() == wanted:
        return
    site = site_of(folder)
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    site.mkdir(parents=True, exist_ok=True)
    for name in ("python", "python3"):
        link = folder / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(interpreter)
    for name in ("pip", "pip3"):
        script = folder / "bin" / name
        script.unlink(missing_ok=True)
        script.write_text(_PIP.format(folder=folder))
        script.chmod(0o755)
    (site / "_datalab.pth").write_text(f"import site; site.addsitedir({str(site_of(under))!r})\n")
    settings.write_text(wanted)


def kernel(folder: Path, place: Path, *, under: Path = Path(sys.prefix)) -> None:
    """Write a Python kernel under `place` (a part of JUPYTER_PATH) that runs in the person's environment."""
    original = under / "share" / "jupyter" / "kernels" / "python3"
    about = json.loads((original / "kernel.json").read_text())
    target = place / "kernels" / "python3"
    target.mkdir(parents=True, exist_ok=True)
    argv = [str(folder / "bin" / "python"), *about["argv"][1:]]
    (target / "kernel.json").write_text(json.dumps({**about, "argv": argv}))
    for logo in original.glob("logo-*"):
        # Copied: Jupyter serves no file that a link names outside the kernel's own folder.
        (target / logo.name).write_bytes(logo.read_bytes())


def offer(environment: "os._Environ[str]", runtime: Path) -> None:
    """Give kernels and terminals the person's environment, if the platform names its folder; else change nothing."""
    named = environment.get(FOLDER_VARIABLE, "")
    if not named:
        return
    folder, place = Path(named), runtime / "kernels-of-mine"
    try:
        lay(folder)
        kernel(folder, place)
    except OSError as error:
        print(f"datalabs: your own packages are not available: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return
    environment["PATH"] = f"{folder}/bin:{environment.get('PATH', os.defpath)}"
    environment["VIRTUAL_ENV"] = str(folder)
    environment["PYTHONPATH"] = str(site_of(folder))
    others = environment.get("JUPYTER_PATH")
    environment["JUPYTER_PATH"] = os.pathsep.join(
        filter(None, [str(place), str(folder / "share/jupyter"), others])
    )
