"""Generate protos/gen from the .proto files, or say that it is stale.

    python scripts/protos.py           write protos/gen
    python scripts/protos.py --check   compare only; exit 1 when stale

A proto path is a Python path: journeys/authoring/v1/journey.proto becomes
journeys.authoring.v1.journey_pb2. Whatever lies in protos/gen and is not
produced here is removed, so that a renamed proto leaves nothing behind.
"""

import argparse
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED = PROTOS / "gen"
INIT = '"""Generated from protos by `make protos`; never edited."""\n'


def main() -> int:
    parser = argparse.ArgumentParser(description="Generate protos/gen, or check that it is fresh.")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when stale")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        stale = differences(fresh, GENERATED)
        if arguments.check:
            for name in stale:
                print(f"stale: protos/gen/{name}", file=sys.stderr)
            if stale:
                print("Run `make protos` and commit the result.", file=sys.stderr)
            return 1 if stale else 0
        for name in stale:
            renew(fresh / name, GENERATED / name)
        print(f"protos/gen: {len(listing(fresh))} files, {len(stale)} changed")
    return 0


def generate(out: Path) -> None:
    """Run protoc with the Python, gRPC and mypy plugins over every proto, into `out`."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / "journeys").rglob("*.proto"))
    if not sources:
        raise SystemExit("no .proto file under protos/journeys")
    # The plugins lie beside the interpreter, which need not be on PATH.
    scripts = Path(sys.executable).parent
    status = protoc.main(
        [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={files('grpc_tools') / '_proto'}",  # google/protobuf/*.proto
            f"--plugin=protoc-gen-mypy={scripts / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={scripts / 'protoc-gen-mypy_grpc'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
            *sources,
        ]
    )
    if status != 0:
        raise SystemExit(status)
    without_service(out)
    for folder in {path.parent for path in out.rglob("*.py")} | {out / "journeys"}:
        while folder != out:
            (folder / "__init__.py").write_text(INIT)
            folder = folder.parent
    (out / "journeys" / "py.typed").touch()


def without_service(out: Path) -> None:
    """Drop the gRPC modules of protos that declare no service: protoc writes them empty."""
    for module in out.rglob("*_pb2_grpc.py"):
        if "Stub" not in module.read_text():
            module.unlink()
            module.with_suffix(".pyi").unlink(missing_ok=True)


def renew(fresh: Path, committed: Path) -> None:
    """Copy one file, or remove it where nothing fresh stands for it; all others stay untouched."""
    if fresh.exists():
        committed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(fresh, committed)
    else:
        committed.unlink()


def listing(folder: Path) -> set[str]:
    """Name every file below `folder`, relative to it; byte code does not count."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)) for path in found}


def differences(fresh: Path, committed: Path) -> list[str]:
    """Name the files that are missing, left over or unequal."""
    ours, theirs = listing(fresh), listing(committed)
    unequal = {name for name in ours & theirs if (fresh / name).read_bytes() != (committed / name).read_bytes()}
    return sorted((ours ^ theirs) | unequal)


if __name__ == "__main__":
    sys.exit(main())
