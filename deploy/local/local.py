"""A Kafka broker and a MongoDB-protocol server on this machine's loopback, without containers.

    python deploy/local/local.py up [log|store]     start what does not run, print kinds, versions and addresses
    python deploy/local/local.py down               stop both; their data stays
    python deploy/local/local.py status
    python deploy/local/local.py run -- COMMAND     fresh data, free ports, the command, and stop, whatever happens
    python deploy/local/local.py build-docstore     build the faster stand-in (Rust, some minutes, once)

The document store is the first of these that there is: MONGODB_URI (then nothing is started), `mongod` on PATH, a
built `secantusd-rs`, else `secantusd-py` from its wheel. The last two are stand-ins for development: they speak
MongoDB's protocol and are never called MongoDB here.

    JOURNEYS_LOCAL_STATE   data, logs and pid files of the servers (.local, ignored by git)
    JOURNEYS_LOCAL_CACHE   what is downloaded or built once, by version (~/.cache/journeys-local)
    JOURNEYS_KAFKA_PORT    19092; its controller takes the next one
    JOURNEYS_MONGO_PORT    27117
    JOURNEYS_KAFKA_PROPERTIES  a file with more properties of the broker, such as another listener
    JOURNEYS_LOCAL_SECONDS how long `run` lets its command run (no end); whatever of it is left then is killed

Exit status: 3 where a tool is missing or nothing can be fetched, 4 where a server does not start, 5 where the command
took too long.
"""

import argparse
import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
KAFKA = "4.3.1"
SECANTUS_RS = "0.5.3-beta.196"
SECANTUS_PY = "0.7.0b3"
CLUSTER = "SjBJZy1Mb2NhbC1DbHVzdA"  # 22 characters of base64: any will do
STOP_SECONDS = 15.0
FETCH_SECONDS = 300.0
MISSING = 3  # the exit status where a tool is missing
LATE = 5
# Without it the stand-ins acknowledge writes that a kill -9 can lose, with `j: true` as well: of 93,826 at least 208.
# So they write the log to the operating system at each commit; only a power failure can lose writes then.
WIREDTIGER = "transaction_sync=(enabled=true,method=none)"


class CannotStart(Exception):
    """Said in one line; `status` is the exit status."""

    def __init__(self, line: str, status: int = 4) -> None:
        super().__init__(line)
        self.status = status


class Place:
    """Where the servers of one start keep their things, and the ports they use."""

    def __init__(self, state: Path, cache: Path, kafka_port: int, mongo_port: int) -> None:
        self.state, self.cache = state, cache
        self.kafka_port, self.mongo_port = kafka_port, mongo_port
        state.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)

    @classmethod
    def usual(cls) -> "Place":
        """What `make up` uses."""
        own_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "journeys-local"
        return cls(
            Path(os.environ.get("JOURNEYS_LOCAL_STATE") or ROOT / ".local").resolve(),
            Path(os.environ.get("JOURNEYS_LOCAL_CACHE") or own_cache).resolve(),
            int(os.environ.get("JOURNEYS_KAFKA_PORT") or 19092),
            int(os.environ.get("JOURNEYS_MONGO_PORT") or 27117),
        )

    def pid_file(self, name: str) -> Path:
        return self.state / f"{name}.pid"

    def log_file(self, name: str) -> Path:
        return self.state / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """The process of that name if it is ours and alive.

        Its command line has to name our folder: kill -0 is also true for a zombie, of which there are many where
        nobody reaps orphans, and for a stranger who got the number.
        """
        try:
            pid = int(self.pid_file(name).read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(self.state).encode() in command else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="See the top of this file.")
    parser.add_argument("command", choices=["up", "down", "status", "run", "build-docstore"])
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="up: log or store alone; run: -- COMMAND")
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "up":
                for name, value in up(Place.usual(), arguments.rest or ["log", "store"]).items():
                    print(f"{name}={value}")
            case "down":
                down(Place.usual())
            case "status":
                for name in ("log", "store"):
                    print(f"{name} {'up' if Place.usual().pid(name) else 'down'}")
            case "run":
                return run(arguments.rest[1:] if arguments.rest[:1] == ["--"] else arguments.rest)
            case _:
                build_docstore(Place.usual())
    except CannotStart as error:
        say(str(error))
        return error.status
    return 0


def up(place: Place, which: list[str]) -> dict[str, str]:
    """Start what does not run; the settings that lead there."""
    addresses = {}
    if "log" in which:
        start_log(place)
        addresses["JOURNEYS_LOG"] = f"kafka://127.0.0.1:{place.kafka_port}"
        say(f"log: Apache Kafka {KAFKA}, one node, 127.0.0.1:{place.kafka_port}")
    if "store" in which:
        given = os.environ.get("MONGODB_URI")
        kind = "given by MONGODB_URI" if given else start_store(place)
        uri = given or f"mongodb://127.0.0.1:{place.mongo_port}/journeys?directConnection=true"
        addresses["JOURNEYS_STORE"] = uri
        say(f"store: {kind}; it reports version {asyncio.run(version_of(uri))}")
    return addresses


def down(place: Place) -> None:
    """Stop what is ours."""
    for name in ("store", "log"):
        stop(place, name)


def run(command: list[str]) -> int:
    """Run a command beside servers of its own; its exit status."""
    if not command:
        raise CannotStart("run needs a command: local.py run -- pytest -m integration", 2)
    usual = Place.usual()
    with tempfile.TemporaryDirectory(prefix="journeys-local-", ignore_cleanup_errors=True) as folder:
        # SIGTERM must stop the servers too, hence an exception in place of an end.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        place, addresses = _up_anywhere(Path(folder).resolve(), usual.cache)
        try:
            environment = {
                **os.environ,
                "JOURNEYS_TEST_KAFKA": addresses["JOURNEYS_LOG"],
                "JOURNEYS_TEST_MONGODB": addresses["JOURNEYS_STORE"],
                # For benchmarks: whose figures these are, and what the servers themselves use.
                "JOURNEYS_TEST_STORE_KIND": "the server MONGODB_URI names"
                if os.environ.get("MONGODB_URI")
                else store_command(place)[1],
                "JOURNEYS_TEST_STATE": str(place.state),
            }
            status = _call_in_time(command, environment, float(os.environ.get("JOURNEYS_LOCAL_SECONDS") or 0))
            return 1 if status == MISSING else status  # that one is ours
        finally:
            down(place)
            _end_all(f"JOURNEYS_TEST_STATE={place.state}")


def _up_anywhere(folder: Path, cache: Path) -> tuple[Place, dict[str, str]]:
    """Both servers on free ports. One that was free may be taken when its server comes to it: then on others."""
    last = CannotStart("no port is free")
    for attempt in range(3):
        place = Place(folder / str(attempt), cache, *free_ports())
        try:
            return place, up(place, ["log", "store"])
        except CannotStart as error:
            down(place)
            if not any(said in str(error) for said in ("already in use", "BindException")):
                raise
            last = error
        except BaseException:
            down(place)
            raise
    raise last


def _call_in_time(command: list[str], environment: Mapping[str, str], seconds: float) -> int:
    """The command's exit status; LATE if it had to be ended. 0 seconds: it takes as long as it takes."""
    process = subprocess.Popen(command, env=environment)  # noqa: S603  the caller's own command
    try:
        return process.wait(seconds or None)
    except subprocess.TimeoutExpired:
        say(f"{command[0]} was not done within {seconds:g} s, and is ended")
        return LATE
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_all(mark: str) -> None:
    """Kill what the command left behind: the processes that have this line in their environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue  # it has ended, or is not ours to look at


# -- the log


def start_log(place: Place) -> None:
    """Apache Kafka from its jars, ready when every leader can be asked."""
    if place.pid("log"):
        return
    java = need(
        "java", "install a Java 17 runtime (openjdk-17-jre-headless), or use a broker you have: --log kafka://..."
    )
    home = place.cache / f"kafka-{KAFKA}"
    class_path = os.pathsep.join(sorted(map(str, jars(home))))  # one order: the class archive needs it
    data = place.state / "kafka"
    properties = place.state / "kafka.properties"
    text = (HERE / "server.properties").read_text()
    if more := os.environ.get("JOURNEYS_KAFKA_PROPERTIES"):
        text += Path(more).read_text()  # of one name twice the later counts
    for name, value in (("PORT", place.kafka_port), ("CONTROLLER", place.kafka_port + 1), ("DATA", data)):
        text = text.replace(f"@{name}@", str(value))
    properties.write_text(text)
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    if not (data / "meta.properties").exists():
        tool = [java, "-cp", class_path, quiet, "kafka.tools.StorageTool"]
        call([*tool, "format", "-t", CLUSTER, "-c", str(properties)], 90)
    archive = home / "classes.jsa"  # of the JDK that wrote it: another one warns and starts slowly
    fresh = place.state / "classes.jsa"  # whole only when its server has ended: `stop` puts it in its place
    classes = f"-XX:SharedArchiveFile={archive}" if archive.exists() else f"-XX:ArchiveClassesAtExit={fresh}"
    memory = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC"]
    process = begin(place, "log", [java, *memory, classes, quiet, "-cp", class_path, "kafka.Kafka", str(properties)])
    await_answer(place, "log", process, 90, lambda: asyncio.run(ask_log(place.kafka_port)))


def jars(home: Path) -> list[Path]:
    """The jars of the broker; fetched if they are not there."""
    libs = home / "libs"
    if not libs.is_dir():
        mvn = need("mvn", f"install maven: it fetches Kafka {KAFKA}, once")
        # Under another name until it is whole: an interrupted download must never look finished.
        fresh = home / f"libs.{os.getpid()}"
        say(f"fetching Apache Kafka {KAFKA} (45 MB, once)")
        goal = [f"-Dkafka.version={KAFKA}", "dependency:copy-dependencies", "-DincludeScope=runtime"]
        try:
            fetch([mvn, "-q", "-B", "-f", str(HERE / "pom.xml"), *goal, f"-DoutputDirectory={fresh}"])
        except CannotStart:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        rename(fresh, libs)
    return list(libs.glob("*.jar"))


async def ask_log(port: int) -> None:
    """Raises until the broker answers."""
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=3000)
    try:
        await admin.start()
        await admin.list_topics()
    finally:
        await admin.close()


# -- the store


def start_store(place: Place) -> str:
    """The best document server there is; its kind, and the version that was asked for."""
    command, kind, is_mongod = store_command(place)
    if not place.pid("store"):
        (place.state / "store").mkdir(exist_ok=True)
        process = begin(place, "store", command, {"WIREDTIGER_CONFIG": WIREDTIGER})
        await_answer(place, "store", process, 60, lambda: asyncio.run(ask_store(place.mongo_port, is_mongod)))
    return kind


def store_command(place: Place) -> tuple[list[str], str, bool]:
    """How to start it, what to call it, and whether it is MongoDB itself."""
    data = str(place.state / "store")
    wanted = os.environ.get("JOURNEYS_LOCAL_STORE") or "any"
    if wanted in ("any", "mongod") and (mongod := shutil.which("mongod")):
        flags = ["--bind_ip", "127.0.0.1", "--port", str(place.mongo_port), "--dbpath", data, "--replSet", "rs0"]
        return [mongod, *flags], "mongod, MongoDB itself", True
    flags = ["--host", "127.0.0.1", "--port", str(place.mongo_port), "--storage-path", data, "--cache-size", "256M"]
    built = place.cache / f"secantusd-rs-{SECANTUS_RS}" / "bin" / "secantusd-rs"
    if wanted in ("any", "rs") and built.exists():
        return [str(built), *flags], f"secantusd-rs {SECANTUS_RS}, a stand-in for MongoDB", False
    if wanted not in ("any", "py"):
        raise CannotStart(
            f"JOURNEYS_LOCAL_STORE={wanted}: not here (any, mongod, rs after build-docstore, py)", MISSING
        )
    venv = place.cache / f"secantus-py-{SECANTUS_PY}"
    server = venv / "bin" / "secantusd-py"
    if not server.exists():
        say(f"fetching secantusdb {SECANTUS_PY} (145 MB, once)")
        shutil.rmtree(venv, ignore_errors=True)  # of an interrupted installation; a venv cannot be renamed
        try:
            call([sys.executable, "-m", "venv", str(venv)], 120)
            fetch([str(venv / "bin" / "pip"), "install", "-q", "--only-binary", ":all:", f"secantusdb=={SECANTUS_PY}"])
        except BaseException:
            shutil.rmtree(venv, ignore_errors=True)
            raise
    return [str(server), *flags], f"secantusd-py {SECANTUS_PY}, a stand-in for MongoDB", False


async def ask_store(port: int, is_mongod: bool) -> None:
    """Raises until the server answers and takes a write."""
    from pymongo import AsyncMongoClient
    from pymongo.errors import OperationFailure

    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(
        f"mongodb://127.0.0.1:{port}/?directConnection=true", serverSelectionTimeoutMS=2000
    )
    try:
        if is_mongod:
            try:
                await client.admin.command(
                    "replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": f"127.0.0.1:{port}"}]}
                )
            except OperationFailure as error:
                if error.code != 23:  # AlreadyInitialized
                    raise
        started = client.local_check.started
        await started.update_one({"_id": "start"}, {"$inc": {"n": 1}}, upsert=True)
    finally:
        await client.close()


async def version_of(uri: str) -> str:
    """What the server says of itself."""
    from pymongo import AsyncMongoClient

    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(uri, serverSelectionTimeoutMS=5000)
    try:
        return str((await client.admin.command("buildInfo"))["version"])
    finally:
        await client.close()


def build_docstore(place: Place) -> None:
    """The Rust stand-in: five times as fast as the Python one, and some minutes to build."""
    cargo = need("cargo", "install Rust (1.95 is enough), or stay with the Python stand-in, which needs no build")
    home = place.cache / f"secantusd-rs-{SECANTUS_RS}"
    if (home / "bin" / "secantusd-rs").exists():
        say(f"secantusd-rs {SECANTUS_RS} is built")
        return
    fresh = place.cache / f"secantusd-rs.{os.getpid()}"
    # It states Rust 1.98 and builds with 1.95.
    flags = ["--version", SECANTUS_RS, "--locked", "--ignore-rust-version", "--root", str(fresh)]
    call([cargo, "install", "secantus-mdb", *flags], 3600)
    rename(fresh, home)


# -- processes


def begin(
    place: Place, name: str, command: list[str], more: Mapping[str, str] | None = None
) -> "subprocess.Popen[bytes]":
    """Start a server that outlives us, its output in its log file."""
    with place.log_file(name).open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  a server of ours with fixed arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(more or {})},
        )
    place.pid_file(name).write_text(str(process.pid))
    return process


def await_answer(
    place: Place, name: str, process: "subprocess.Popen[bytes]", seconds: float, ask: Callable[[], None]
) -> None:
    """Wait until the server gives a real answer. Raises CannotStart."""
    until = time.monotonic() + seconds
    port = place.kafka_port if name == "log" else place.mongo_port
    last = "its port is closed"
    while time.monotonic() < until:
        if process.poll() is not None:
            lines = place.log_file(name).read_text(errors="replace").splitlines()[-5:]
            raise CannotStart(f"{name} ended at its start: {' | '.join(lines) or 'it said nothing'}")
        try:
            with socket.create_connection(("127.0.0.1", port), 0.5):
                pass
            ask()
            return
        except Exception as error:  # noqa: BLE001  whatever is wrong may be right a moment later
            last = str(error)
        time.sleep(0.1)
    raise CannotStart(f"{name} did not answer within {seconds:g} s ({last}); see {place.log_file(name)}")


def stop(place: Place, name: str) -> None:
    """SIGTERM, and after a while SIGKILL."""
    pid = place.pid(name)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while place.pid(name) is not None and time.monotonic() < until:
            time.sleep(0.1)
        if place.pid(name) is not None:
            os.kill(pid, signal.SIGKILL)
        elif (fresh := place.state / "classes.jsa").exists() and (home := place.cache / f"kafka-{KAFKA}").is_dir():
            own = home / f"classes.{os.getpid()}"  # the cache may be another file system
            shutil.move(fresh, own)
            own.rename(home / "classes.jsa")
    place.pid_file(name).unlink(missing_ok=True)


def call(command: list[str], seconds: float) -> None:
    """Run a tool to its end. Raises CannotStart."""
    tool = Path(command[0]).name
    try:
        done = subprocess.run(  # noqa: S603  fixed arguments
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise CannotStart(f"{tool} was not done within {seconds:g} s") from None
    if done.returncode:
        raise CannotStart(f"{tool} failed with status {done.returncode}")


def fetch(command: list[str]) -> None:
    """Run a tool that fetches from a registry. Raises CannotStart; without the registry it is as if it were missing."""
    try:
        call(command, FETCH_SECONDS)
    except CannotStart as error:
        raise CannotStart(f"nothing could be fetched: {error}", MISSING) from None


def need(tool: str, remedy: str) -> str:
    """The tool's path. Raises CannotStart."""
    found = shutil.which(tool)
    if found is None:
        raise CannotStart(f"{tool} not found: {remedy}", MISSING)
    return found


def rename(fresh: Path, final: Path) -> None:
    """Put what is whole in its place; somebody else's, made meanwhile, is as good."""
    try:
        fresh.rename(final)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)


def free_ports() -> tuple[int, int]:
    """A port whose neighbour is free too, and another.

    Below those that the system gives to clients: a client that knocks at a server that is down may be given that very
    port, and then keeps it from coming back.
    """
    while True:
        port, other = random.sample(range(15_000, 30_000, 2), 2)
        if all(map(_is_free, (port, port + 1, other))):
            return port, other


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def say(line: str) -> None:
    print(f"local: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
