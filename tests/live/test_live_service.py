"""The service of systemd: its unit asks for what the configuration names, and installing it loses nothing."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.installed import need_program
from helpers.paths import ECG
from typer.testing import CliRunner

from tcnstream.cli.app import app
from tcnstream.errors import SignalError, TcnStreamError
from tcnstream.live.service import machine
from tcnstream.live.service.unit import WATCHDOG_S

FILE = f'[stream.a]\nsource = "file:{ECG}"\nmodel = "ecg"\n'
SERIAL = '[stream.a]\nsource = "serial:{}?rate=250&units=mV"\nmodel = "ecg"\n'
MIC = '[stream.room]\nsource = "mic:USB Audio"\nmodel = "speech"\n'
PAGE = '[page]\nlisten = "127.0.0.1:8080"\n'
BROKER = '[sink.home]\nkind = "mqtt"\nurl = "mqtt://{}:1883"\n'
LOG = '[sink.log]\nkind = "jsonl"\npath = "{}/segments.jsonl"\n'
STATE = 'state = "/var/lib/tcnstream/state"\n'
LAN = "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 169.254.0.0/16 fc00::/7 fe80::/10"
CONFIGS = {
    "a recording": STATE + FILE,
    "all": STATE
    + PAGE
    + SERIAL.format("/dev/serial/by-id/usb-ecg")
    + MIC
    + BROKER.format("homeassistant.local")
    + LOG.format("/var/log/tcnstream"),
    "a public broker": STATE + PAGE + SERIAL.format("/dev/ttyAMA0") + BROKER.format("broker.example.com"),
    "other folders": FILE + LOG.format("/mnt/usb disk/50%/$x"),
}


def written(folder: Path, text: str) -> Path:
    path = folder / "live.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def unit_of(tmp_path: Path, text: str) -> str:
    return machine.unit_file(written(tmp_path, text), Path("/"))


def values(unit: str, key: str) -> list[str]:
    return [line.removeprefix(f"{key}=") for line in unit.splitlines() if line.startswith(f"{key}=")]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("folder", ["tcnstream", 'odd "folder" 5%; $HOME'])
def test_systemd_finds_nothing_to_say_about_the_unit(tmp_path: Path, name: str, folder: str) -> None:
    analyze = need_program("systemd-analyze", "systemd")
    unit = tmp_path / "tcnstream.service"
    unit.write_text(unit_of(tmp_path / folder, CONFIGS[name]))
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    exposed = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=20", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
    )
    assert exposed.returncode == 0 and exposed.stderr == "", exposed.stdout[-200:] + exposed.stderr


def test_systemd_would_say_it(tmp_path: Path) -> None:
    """The oracle: an unknown key and a path that is none are told."""
    analyze = need_program("systemd-analyze", "systemd")
    unit = tmp_path / "tcnstream.service"
    unit.write_text(unit_of(tmp_path, FILE).replace("[Service]", "[Service]\nProtectTime=yes\nReadWritePaths=here"))
    told = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True).stderr
    assert "ProtectTime" in told and "here" in told


def test_devices_are_those_that_the_configuration_names(tmp_path: Path) -> None:
    nothing = unit_of(tmp_path, FILE)
    assert values(nothing, "DeviceAllow") == [] and values(nothing, "PrivateDevices") == ["yes"]
    unplugged = unit_of(tmp_path, SERIAL.format("/dev/serial/by-id/usb-not-there"))
    assert values(unplugged, "DeviceAllow") == ["char-ttyUSB rw", "char-ttyACM rw"]
    assert "modprobe@cdc_acm.service" in values(unplugged, "Wants")[0]  # whose class is unknown until it is loaded
    assert values(unit_of(tmp_path, SERIAL.format("/dev/ttyACM3")), "DeviceAllow") == ["char-ttyACM rw"]
    assert values(unit_of(tmp_path, SERIAL.format("/dev/ttyAMA0") + MIC), "DeviceAllow") == [
        "char-alsa rw",
        "char-ttyAMA rw",
    ]
    assert values(unit_of(tmp_path, MIC), "PrivateDevices") == []
    compared = FILE + 'board = "serial:/dev/ttyACM1"\n'
    assert values(unit_of(tmp_path, compared), "DeviceAllow") == ["char-ttyACM rw"]
    assert values(nothing, "SupplementaryGroups") == ["audio dialout"]


def test_addresses_are_those_that_the_configuration_needs(tmp_path: Path) -> None:
    alone = unit_of(tmp_path, FILE)
    assert values(alone, "PrivateNetwork") == ["yes"] and values(alone, "IPAddressAllow") == []
    assert values(unit_of(tmp_path, PAGE + FILE), "IPAddressAllow") == ["localhost"]
    for host, allowed in {
        "127.0.0.1": "localhost",
        "localhost": "localhost",
        "192.168.1.20": "localhost 192.168.1.20",
        "mqtt.lan": f"localhost {LAN}",
        "homeassistant": f"localhost {LAN}",
        "homeassistant.local": f"localhost {LAN} multicast",
    }.items():
        unit = unit_of(tmp_path, FILE + BROKER.format(host))
        assert values(unit, "IPAddressDeny") == ["any"] and values(unit, "IPAddressAllow") == [allowed], host
    assert values(unit_of(tmp_path, FILE + BROKER.format("broker.example.com")), "IPAddressDeny") == []
    (tmp_path / "token").write_text("a-long-random-word")
    seen = PAGE.replace("127.0.0.1", "0.0.0.0") + 'token_file = "token"\n'
    assert values(unit_of(tmp_path, seen + FILE), "IPAddressAllow") == [f"localhost {LAN}"]
    voice = '[sink.voice]\nkind = "wyoming"\nlisten = "{}:10700"\n'
    assert values(unit_of(tmp_path, FILE + voice.format("127.0.0.1")), "IPAddressAllow") == ["localhost"]
    assert values(unit_of(tmp_path, FILE + voice.format("0.0.0.0")), "IPAddressAllow") == [f"localhost {LAN}"]
    low = PAGE.replace("8080", "80")
    assert values(unit_of(tmp_path, low + FILE), "CapabilityBoundingSet") == ["CAP_NET_BIND_SERVICE"]
    assert values(alone, "CapabilityBoundingSet") == [""]


def test_folders_are_those_that_the_configuration_writes(tmp_path: Path) -> None:
    text = STATE + FILE + LOG.format("/var/log/tcnstream") + LOG.format("/mnt/usb").replace("sink.log", "sink.usb")
    unit = unit_of(tmp_path, text)
    assert values(unit, "StateDirectory") == ["tcnstream tcnstream/state"]
    assert values(unit, "LogsDirectory") == ["tcnstream"]
    assert values(unit, "ReadWritePaths") == ["/mnt/usb"] and "/mnt/usb" in values(unit, "RequiresMountsFor")
    assert str(tmp_path) in values(unit, "BindReadOnlyPaths")  # /tmp is empty in there but for that
    assert values(unit_of(tmp_path, FILE), "BindPaths") == [f"{tmp_path}/state"]
    assert values(unit, "ProtectSystem") == ["strict"] and values(unit, "User") == ["tcnstream"]


def test_the_watchdog_is_that_of_the_daemon(tmp_path: Path) -> None:
    unit = unit_of(tmp_path, FILE)
    assert values(unit, "Type") == ["notify"] and values(unit, "WatchdogSec") == [str(WATCHDOG_S)]
    assert values(unit, "Restart") == ["always"] and values(unit, "StartLimitIntervalSec") == ["0"]


def test_a_service_has_no_standard_input(tmp_path: Path) -> None:
    with pytest.raises(SignalError, match="no standard input"):
        unit_of(tmp_path, '[stream.a]\nsource = "-?rate=360"\nmodel = "ecg"\n')


@dataclass(frozen=True)
class Answer:
    """What a command line answers; ``main`` makes 2 and a sentence on standard error of an error."""

    returncode: int
    stdout: str
    stderr: str


def service(*arguments: str | Path) -> Answer:
    result = CliRunner().invoke(app, ["service", *map(str, arguments)])
    if isinstance(result.exception, TcnStreamError):
        return Answer(2, result.stdout, str(result.exception))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    need_program("systemctl", "systemd")
    need_program("systemd-sysusers", "systemd")
    written(tmp_path / "etc" / "tcnstream", STATE + FILE)
    return tmp_path


def test_installing_twice_upgrading_and_removing(image: Path) -> None:
    config, unit = image / "etc/tcnstream/live.toml", image / machine.UNIT_PATH
    tried = service("install", config, "--root", image, "--dry-run")
    assert tried.returncode == 0 and f"{unit}: write" in tried.stdout and not unit.exists()
    assert service("install", config, "--root", image).returncode == 0
    first = unit.read_text()
    assert " serve /etc/tcnstream/live.toml\n" in first
    assert "tcnstream:" in (image / "etc/passwd").read_text() and "dialout" in (image / "etc/group").read_text()
    assert service("status", "--root", image).returncode == 0
    again = service("install", config, "--root", image)
    assert f"{unit}: leave" in again.stdout and unit.read_text() == first
    config.write_text(STATE + SERIAL.format("/dev/ttyACM0"))
    assert "older than its configuration" in service("status", "--root", image).stdout
    assert f"{unit}: replace" in service("install", config, "--root", image).stdout
    assert "char-ttyACM" in unit.read_text()
    drop_in = unit.with_name("tcnstream.service.d") / "override.conf"  # what `systemctl edit` makes
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nNice=5\n")
    removed = service("uninstall", "--root", image)
    assert removed.returncode == 0 and "stay" in removed.stderr
    assert not unit.exists() and config.exists() and drop_in.exists()
    assert not list((image / "etc/systemd/system/multi-user.target.wants").glob("*"))
    assert service("status", "--root", image).returncode == 2
    assert service("uninstall", "--root", image).returncode == 2


def test_what_a_person_edited_is_never_lost_without_a_word(image: Path) -> None:
    config, unit = image / "etc/tcnstream/live.toml", image / machine.UNIT_PATH
    aside = unit.with_name("tcnstream.service.edited")
    assert service("install", config, "--root", image).returncode == 0
    edited = unit.read_text().replace("WatchdogSec=30", "WatchdogSec=60")
    unit.write_text(edited)
    refused = service("install", config, "--root", image)
    assert refused.returncode == 2 and "was edited" in refused.stderr and unit.read_text() == edited
    assert service("status", "--root", image).returncode == 1
    replaced = service("install", config, "--root", image, "--replace")
    assert replaced.returncode == 0 and aside.read_text() == edited and unit.read_text() != edited
    unit.write_text("[Service]\nExecStart=/bin/true\n")  # somebody's own
    assert service("install", config, "--root", image).returncode == 2
    removed = service("uninstall", "--root", image)
    assert removed.returncode == 0 and "put aside" in removed.stdout and "/bin/true" in aside.read_text()


def test_a_wrong_configuration_installs_nothing(image: Path) -> None:
    config = written(image / "etc/tcnstream", STATE + FILE.replace('"ecg"', '"egc"'))
    refused = service("install", config, "--root", image)
    assert refused.returncode == 2 and "live.toml, line 4" in refused.stderr
    assert not (image / machine.UNIT_PATH).exists()
