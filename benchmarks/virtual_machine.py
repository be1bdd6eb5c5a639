"""Layers under other kernels, from a read-only disk, with little memory: in a virtual machine.

`python -m benchmarks.virtual_machine BUILD... --kernel PACKAGE` takes build folders (`build/bert`)
and a kernel as Debian packages it (linux-image-5.10.0-*-amd64, by `apt-get download`). For each
build a machine starts with that kernel, 1,769 MB of memory (one processor of Lambda's) and the
layers as squashfs or ext4 on a read-only block device at /opt; all else it has from this machine's
files, read-only. The handler answers its workload's event in a new process, and once more when the
page cache was dropped. Both answers must be those that the same layers give here, but for the last
digits of numbers: another processor has other kernels.

`--accelerator tcg` emulates the machine, many times slower, where /dev/kvm is not there, or is a
virtual machine's own (kvm_pvm) that starts no such kernel. It needs what Debian calls
qemu-system-x86, squashfs-tools or e2fsprogs, kmod, busybox-static, cpio and bubblewrap.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

#: MB: what Lambda gives one whole processor for.
_MEMORY: Final = 1769
_LONGEST: Final = 3000
_MODULES: Final = ("virtio_pci", "virtio_blk", "9p", "9pnet_virtio", "crc32c_generic")
_PROBE: Final = """
import importlib, json, os, resource, sys, time
handler, site = sys.argv[1:3]
sys.path[:0] = ["/tmp/task", "/opt/" + site, "/opt/python"]
event = json.load(open("/tmp/event.json"))
class Context:
    aws_request_id = "1"
    def get_remaining_time_in_millis(self): return 60000
started = time.monotonic()
module, name = handler.rsplit(".", 1)
answer = getattr(importlib.import_module(module), name)(event, Context())
print("ANSWER", json.dumps({
    "answer": answer, "seconds": round(time.monotonic() - started, 2),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "kernel": os.uname().release,
}))
"""
_INIT: Final = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 files /root
mount -t tmpfs tmpfs /root/tmp
mount -t proc proc /root/proc
mount -o bind /dev /root/dev
mount -t {system} -o ro /dev/vda /root/opt || echo "no /opt"
cp -r /task /probe.py /event.json /root/tmp
grep MemTotal /proc/meminfo
answer() {{
    chroot /root env -i PATH=/usr/bin:/bin HOME=/tmp LD_LIBRARY_PATH=/opt/lib \\
        {python} -I -S -B /tmp/probe.py {handler} {site}
    echo "ENDED $1 $?"
}}
answer first
sync
echo 3 >/proc/sys/vm/drop_caches
answer "without cache"
poweroff -f
"""


def main() -> None:
    """Run all, print a line for each answer, and exit with 1 where one is not as expected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("builds", nargs="+", type=Path, help="build folders")
    parser.add_argument("--kernel", required=True, type=Path, help="a linux-image package")
    parser.add_argument("--system", choices=("squashfs", "ext4"), default="squashfs")
    parser.add_argument("--accelerator", choices=("kvm", "tcg"), default="kvm")
    parser.add_argument("--memory", type=int, default=_MEMORY, help="MB")
    parser.add_argument("--python", type=Path, help="the runtime's interpreter, if not on PATH")
    given = parser.parse_args()
    sound = True
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        subprocess.run(["dpkg-deb", "-x", given.kernel, work / "kernel"], check=True)
        for build in given.builds:
            folder = work / build.name
            folder.mkdir()
            sound = _compare(build, folder, work / "kernel", given) and sound
    sys.exit(0 if sound else 1)


def _compare(build: Path, work: Path, kernel: Path, given: argparse.Namespace) -> bool:
    manifest = json.loads((build / "manifest.json").read_bytes())
    opt, root = work / "opt", work / "root"
    for layer in manifest["layers"]:
        _unzip(build / layer["file"], opt)
    _unzip(build / manifest["function"]["file"], root / "task")
    recipe = Path("recipes") / manifest["name"]
    event = next(
        path for path in sorted((recipe / "events").iterdir()) if "malformed" not in path.name
    )
    shutil.copy(event, root / "event.json")
    (root / "probe.py").write_text(_PROBE)
    name = manifest["runtime"]
    python = str(given.python or shutil.which(name) or "")
    if not python:
        sys.exit(f"{name} is not on PATH: name it with --python")
    words = (manifest["function"]["handler"], f"python/lib/{name}/site-packages")
    expected = _here(python, words, opt, root)
    image = _image(opt, work, given.system)
    shutil.rmtree(opt)
    script = _INIT.format(system=given.system, python=python, handler=words[0], site=words[1])
    initial = _initial(kernel, script, root, work, given.system)
    console = _machine(kernel, initial, image, given)
    answers = [
        json.loads(line.partition("ANSWER ")[2]) for line in console if line.startswith("ANSWER ")
    ]
    sound = len(answers) == 2
    for cache, one in zip(("first", "without cache"), answers, strict=False):
        same = _alike(one["answer"], expected["answer"])
        sound = sound and same
        figures = (
            f"{one['kernel']}, {given.system}, {one['seconds']} s, {one['peak_mb']} MB at most"
        )
        print(
            f"{build.name}: {cache}: {'the same answer' if same else 'ANOTHER ANSWER'}; {figures}"
        )
    if len(answers) != 2:
        print("\n".join(console[-60:]))
    return sound


def _alike(one: object, other: object) -> bool:
    """Whether two answers are the same, their bodies read as JSON, but for numbers' last digits."""
    if isinstance(one, str) and isinstance(other, str) and one != other:
        try:
            return _alike(json.loads(one), json.loads(other))
        except ValueError:
            return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6)
    return one == other


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            path = Path(opened.extract(member, folder))
            if mode := member.external_attr >> 16 & 0o777:
                path.chmod(mode)


def _here(python: str, words: tuple[str, str], opt: Path, root: Path) -> dict[str, object]:
    """What the same layers answer on this machine."""
    command: list[str | Path] = [
        "bwrap",
        "--bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--bind",
        opt,
        "/opt",
    ]
    command += ["--bind", root, "/tmp", "--clearenv", "--setenv", "PATH", "/usr/bin:/bin"]
    command += ["--setenv", "HOME", "/tmp", "--setenv", "LD_LIBRARY_PATH", "/opt/lib"]
    command += [python, "-I", "-S", "-B", "/tmp/probe.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    answer: dict[str, object] = json.loads(line.partition("ANSWER ")[2])
    return answer


def _image(folder: Path, work: Path, system: str) -> Path:
    image = work / "opt.image"
    command: list[str | Path]
    if system == "squashfs":
        command = ["mksquashfs", folder, image, "-quiet", "-no-progress", "-comp", "zstd"]
        command += ["-Xcompression-level", "1"]
    else:
        size = sum(path.stat().st_size + 8192 for path in folder.rglob("*"))
        command = ["mkfs.ext4", "-q", "-d", folder, image, f"{size * 5 // 4 // 1024 + 16384}k"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return image


def _initial(kernel: Path, script: str, root: Path, work: Path, system: str) -> Path:
    """The first files: busybox, the kernel's modules that the machine needs, and the function."""
    tree = work / "initial"
    shutil.copytree(root, tree)
    (tree / "bin").mkdir()
    busybox = shutil.which("busybox")
    if busybox is None:
        sys.exit("busybox is not installed (Debian: busybox-static)")
    shutil.copy(busybox, tree / "bin/busybox")
    (tree / "init").write_text(script)
    (tree / "init").chmod(0o755)
    (release,) = (path.name for path in (kernel / "lib/modules").iterdir())
    subprocess.run(["depmod", "-b", kernel, release], check=True)
    (tree / "modules").mkdir()
    order: dict[str, None] = {}
    for module in (*_MODULES, system):
        command: list[str | Path] = [
            "modprobe",
            "-d",
            kernel,
            "-S",
            release,
            "--show-depends",
            module,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in done.stdout.splitlines():
            if line.startswith("insmod "):
                path = Path(line.split()[1])
                shutil.copy(path, tree / "modules")
                order[path.name] = None
    (tree / "modules/order").write_text("\n".join(order))
    archive = work / "initial.cpio"
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with archive.open("wb") as out:
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            cwd=tree,
            input=names.encode(),
            stdout=out,
            check=True,
        )
    return archive


def _machine(kernel: Path, initial: Path, image: Path, given: argparse.Namespace) -> list[str]:
    """What a machine says until it is off."""
    (vmlinuz,) = (kernel / "boot").glob("vmlinuz-*")
    processor = "host" if given.accelerator == "kvm" else "max"
    command: Iterable[str | Path] = [
        *("qemu-system-x86_64", "-accel", given.accelerator, "-cpu", processor),
        *("-smp", "2", "-m", f"{given.memory}M"),
        *("-nographic", "-no-reboot", "-kernel", vmlinuz, "-initrd", initial),
        *("-append", "console=ttyS0 quiet panic=-1 no_timer_check"),
        *("-drive", f"file={image},format=raw,if=virtio,readonly=on"),
        *(
            "-virtfs",
            "local,path=/,mount_tag=files,security_model=none,readonly=on,multidevs=remap",
        ),
    ]
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_LONGEST,
        check=False,
    )
    return [line.rstrip("\r") for line in (done.stdout + done.stderr).splitlines()]


if __name__ == "__main__":
    main()
