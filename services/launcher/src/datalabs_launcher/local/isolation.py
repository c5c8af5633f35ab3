# pathlib alone takes a shim as long to import as all else that it needs:
# ruff: noqa: PTH102, PTH103, PTH108, PTH110, PTH112, PTH113, PTH114, PTH115, PTH120, PTH123, PTH208, PTH211
"""A lab's own view of the machine: what it sees, who it is, what it may. Standard library only: the shim imports it.

Runs in the lab's process between fork and exec, in namespaces that the shim made (`supervisor.py`). The view is built
from nothing: an empty root takes the system's folders and the lab's own places, all else does not exist there. The same
code serves root and, within a user namespace, an ordinary user.
"""

from __future__ import annotations

import os
import resource

from datalabs_launcher.local import syscalls
from datalabs_launcher.local.syscalls import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
)

TYPE_CHECKING = False  # `typing` and what it imports cost the shim 8 ms
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Spec = dict[str, Any]

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = (("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout"))
_MORE_LINKS = (("/proc/self/fd/2", "stderr"), ("pts/ptmx", "ptmx"))
_FILES = 65_536


def _bind(source: str, target: str, *, read_only: bool, devices: bool = False) -> None:
    if os.path.isdir(source):
        os.makedirs(target, 0o755, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), 0o755, exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    syscalls.mount(source, target, None, MS_BIND | MS_REC)
    attributes = (
        MOUNT_ATTR_NOSUID | (MOUNT_ATTR_RDONLY if read_only else 0) | (0 if devices else MOUNT_ATTR_NODEV)
    )
    syscalls.set_mount(target, attributes, recursive=True)


def _system(root: str) -> None:
    for path in SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        elif os.path.isdir(path):
            _bind(path, root + path, read_only=True)


def _settings(root: str, own: str) -> None:
    """Show /etc with the lab's own files in place of some (`own` is a folder of them)."""
    os.mkdir(f"{root}/etc", 0o755)
    if not any(sign in own for sign in ":,\\"):
        try:
            flags = syscalls.MS_RDONLY | MS_NOSUID | MS_NODEV
            syscalls.mount("overlay", f"{root}/etc", "overlay", flags, f"lowerdir={own}:/etc")
        except OSError:
            pass  # no overlay file systems here
        else:
            return
    _bind("/etc", f"{root}/etc", read_only=True)
    for name in os.listdir(own):
        if os.path.isfile(f"/etc/{name}"):
            _bind(f"{own}/{name}", f"{root}/etc/{name}", read_only=True)


def _devices(root: str, shared_mib: int, more: Sequence[str]) -> None:
    dev = f"{root}/dev"
    os.mkdir(dev, 0o755)
    syscalls.mount("tmpfs", dev, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k,nr_inodes=64")
    for name in (*DEVICES, *more):
        _bind(f"/dev/{name}", f"{dev}/{name}", read_only=False, devices=True)
    for target, name in _LINKS + _MORE_LINKS:
        os.symlink(target, f"{dev}/{name}")
    os.mkdir(f"{dev}/pts", 0o755)
    syscalls.mount(
        "devpts", f"{dev}/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"
    )
    os.mkdir(f"{dev}/shm", 0o1777)
    syscalls.mount(
        "tmpfs", f"{dev}/shm", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={shared_mib}m,nr_inodes=100k"
    )


def _volatile(root: str, spec: Spec) -> None:
    for name, mode in (("tmp", 0o1777), ("run", 0o755), ("var", 0o755), ("root", 0o755), ("home", 0o755)):
        os.makedirs(f"{root}/{name}", mode, exist_ok=True)
    flags = MS_NOSUID | MS_NODEV
    size = f"mode=1777,size={spec['tmp_mib']}m,nr_inodes=200k"
    syscalls.mount("tmpfs", f"{root}/tmp", "tmpfs", flags, size)  # noqa: S108
    os.symlink("/tmp", f"{root}/var/tmp")  # noqa: S108 - the lab's own
    os.symlink("/run", f"{root}/var/run")
    own = f"{root}/run/lab"
    os.mkdir(own, 0o700)
    syscalls.mount("tmpfs", own, "tmpfs", flags | MS_NOEXEC, "mode=0700,size=8m,nr_inodes=1k")
    os.chown(own, spec["uid"], spec["gid"])


def enter_view(spec: Spec) -> None:
    """Put the calling process into its own mount, IPC, UTS and cgroup namespaces with its own root."""
    syscalls.unshare(
        syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWCGROUP
    )
    os.umask(0o022)
    syscalls.mount("none", "/", None, MS_REC | MS_PRIVATE)
    root = spec["root"]
    syscalls.mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=4m,nr_inodes=4k")
    _system(root)
    _settings(root, spec["settings"])
    _devices(root, spec["tmp_mib"], spec.get("devices", ()))
    _volatile(root, spec)
    os.mkdir(f"{root}/proc", 0o755)
    syscalls.mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=2")
    if os.path.isdir("/sys/devices/system"):
        _bind("/sys/devices/system", f"{root}/sys/devices/system", read_only=True)
    for source, target, mode in sorted(spec["binds"], key=lambda bind: bind[1]):
        if not os.path.exists(source):
            raise FileNotFoundError(f"{target}: there is no {source} to mount")
        if mode == "ro" and source == target and _shown(target):
            continue
        _bind(source, root + target, read_only=mode == "ro")
    syscalls.pivot_root(root)
    syscalls.set_mount("/dev", MOUNT_ATTR_RDONLY, recursive=False)
    syscalls.set_mount("/", MOUNT_ATTR_RDONLY, recursive=False)
    syscalls.sethostname(spec["hostname"])


def _shown(path: str) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in SYSTEM)


def own_user_namespace() -> None:
    """Become root of a user namespace that holds only us, under our own number."""
    uid, gid = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER)
    for name, content in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(content)


def set_limits(spec: Spec) -> None:
    """Set what a process may take by itself; memory and processes only where no control group bounds them."""
    limits = spec["limits"]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not spec["cgroups"].get("pids") and not spec["cgroups"].get("unified") and spec["isolation"] != "none":
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["pids"], limits["pids"]))
    if not spec["cgroups"].get("memory") and not spec["cgroups"].get("unified"):
        # Between two rounds of the watchdog one process cannot run far ahead.
        data = 2 * limits["memory_mib"] * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (data, data))


def become(uid: int, gid: int, groups: Sequence[int] = ()) -> None:
    """Become that person for good, with no more groups than given: no capabilities, no way to gain any."""
    if os.geteuid() == 0 and uid != 0:
        syscalls.drop_bounding_set()
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    syscalls.drop_capabilities()
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def lay_packages(packages: dict[str, str]) -> None:
    """Lay the person's own virtual environment over the version's, as that person; what cannot be made is left out.

    pip there installs natively and upgrades by shadowing: the version's packages lie outside that environment, so pip
    never tries to remove them. A .pth lets them shine through.
    """
    folder, under, home = packages["folder"], packages["environment"], packages["interpreter"]
    wanted = f"home = {os.path.dirname(home)}\ninclude-system-site-packages = false\nversion = {packages['version']}\nunder = {under}\n"
    try:
        with open(f"{folder}/pyvenv.cfg") as file:
            if file.read() == wanted:
                return
    except OSError:
        pass
    site = f"{folder}/{packages['site']}"
    try:
        os.makedirs(f"{folder}/bin", exist_ok=True)
        os.makedirs(site, exist_ok=True)
        for name in ("python", "python3"):
            _link(home, f"{folder}/bin/{name}")
        for name in ("pip", "pip3"):
            _file(
                f"{folder}/bin/{name}",
                f"#!{folder}/bin/python\nimport sys\nfrom pip._internal.cli.main import main\nsys.exit(main())\n",
                0o755,
            )
        _file(
            f"{site}/_datalab.pth",
            f"import site; site.addsitedir({under + '/' + packages['site']!r})\n",
            0o644,
        )
        _file(f"{folder}/pyvenv.cfg", wanted, 0o644)
    except OSError as error:
        os.write(2, f"datalabs: your own packages are not available: {error}\n".encode())


def _link(target: str, path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)


def _file(path: str, content: str, mode: int) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    os.write(fd, content.encode())
    os.close(fd)
