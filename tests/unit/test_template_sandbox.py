"""A template from a stranger: it gets what transformers gives, and nothing more (S-TMPL)."""

from __future__ import annotations

import copy
import datetime
import os
from pathlib import Path
from typing import Any

import pytest
from tests.families import family
from tests.waiting import until

from tunery.chat import sandbox
from tunery.chat.template import ChatTemplate
from tunery.errors import ModelError

NOW = datetime.datetime(2026, 1, 1)
ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ messages.__class__.__base__.__subclasses__() }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ raise_exception.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ namespace(__class__=1) }}",
    "{{ messages.append({}) }}",
    "{{ ('%s' % messages).format_map({}).__init__ }}",
    "{% set x = messages.__getattribute__('append') %}{{ x }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(namespace) }}",
    "{% include '/etc/passwd' %}",
]
BOMBS = {
    "{% for i in range(10**12) %}{{ i }}{% endfor %}": "output",
    "{{ 'a' * 10**10 }}": "memory",
    "{{ 10 ** (10 ** 8) }}": "time",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}": "time",
    "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}": "output",
    "{{ 'x'.ljust(10**11) }}": "memory",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}": "broken",
    "{% set ns = namespace(x='aaaaaaaa') %}"
    "{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}": "memory",
}


def run(source: str, **variables: Any) -> sandbox.Outcome:
    (outcome,) = sandbox.render(source, [{"messages": [{"role": "user"}], **variables}], now=NOW)
    return outcome


@pytest.mark.parametrize("source", ESCAPES)
def test_an_escape_gets_nowhere(source: str) -> None:
    outcome = run(source)
    assert outcome.error or outcome.text.strip() == "", outcome.text
    assert "root" not in outcome.text


@pytest.mark.parametrize("source", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_ends_within_its_limits_and_the_next_rendering_works(source: str) -> None:
    started = os.times()
    outcome = run(source)
    spent = os.times()
    assert outcome.error in (BOMBS[source], "time")
    assert spent.user - started.user < 2  # nothing of it runs here
    assert run("{{ messages[0].role }}").text == "user"


def test_one_bad_job_of_a_batch_does_not_take_the_others() -> None:
    source = "{{ 'a' * n }}"
    outcomes = sandbox.render(source, [{"n": 1}, {"n": 10**11}, {"n": 3}], now=NOW)
    assert [outcome.text for outcome in outcomes] == ["a", "", "aaa"]


def test_a_long_conversation_is_no_bomb() -> None:
    text = "word " * 1_000_000
    assert run("{{ messages[0].content }}", messages=[{"content": text}]).text == text


def test_the_child_sees_no_environment_and_writes_no_file() -> None:
    run("{{ 1 }}")
    child = sandbox._child()._process
    assert child is not None
    proc = Path(f"/proc/{child.pid}")
    assert b"=" not in (proc / "environ").read_bytes().replace(b"LC_CTYPE=C.UTF-8", b"")
    lines = (proc / "limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[0] for line in lines}
    assert limits["Max file size"] == "0"
    assert limits["Max core file size"] == "0"


def test_a_forked_process_has_a_child_of_its_own() -> None:
    assert run("{{ 1 }}").text == "1"
    pid = os.fork()
    if pid == 0:
        os._exit(0 if run("{{ 2 }}").text == "2" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert run("{{ 3 }}").text == "3"


def test_the_child_ends_with_the_process_that_started_it() -> None:
    pid_read, pid_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        run("{{ 1 }}")
        process = sandbox._child()._process
        os.write(pid_write, str(process.pid if process else 0).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = int(os.read(pid_read, 20))
    until(lambda: not alive(child))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_model_whose_template_is_a_bomb_is_refused_in_a_sentence() -> None:
    tokenizer = copy.copy(family("chatml"))
    tokenizer.chat_template = "{% for i in range(10**12) %}{% endfor %}"
    with pytest.raises(ModelError, match=r"it exceeded the limit of a rendering \(16 MiB of text"):
        ChatTemplate.load(tokenizer)
