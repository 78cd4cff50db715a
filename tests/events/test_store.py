from __future__ import annotations

import contextlib
import json
import sqlite3
import threading

import pytest

from edgeleather.errors import EdgeLeatherError
from edgeleather.events.store import STORE_FILE, Event, Filter, Store


def event(number, topic="good", at=None, article=None, **body):
    return Event(
        f"id-{number}", number if at is None else at, topic, article, number, json.dumps({"id": f"id-{number}", **body})
    )


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(Store(tmp_path, create=True)) as opened:
        yield opened


def ids(stored):
    return [one.event.id for one in stored]


def test_events_come_back_in_order_and_once(store):
    store.append([event(1), event(2)])
    store.append([event(2), event(3, "alarm")])
    assert ids(store.select(Filter())) == ["id-1", "id-2", "id-3"]
    assert ids(store.select(Filter(), 2)) == ["id-2", "id-3"]


def test_filters(store):
    store.append([event(n, "defect" if n % 3 == 0 else "good", article="calf" if n > 5 else None) for n in range(10)])
    assert ids(store.select(Filter(since=3, until=6))) == ["id-3", "id-4", "id-5"]
    assert ids(store.select(Filter(topics=("defect",)))) == ["id-0", "id-3", "id-6", "id-9"]
    assert ids(store.select(Filter(topics=("defect",), article="calf"))) == ["id-6", "id-9"]


def test_a_sink_is_told_of_its_topics_from_when_it_is_known_in_order(store):
    store.append([event(1, "alarm")])
    store.register("mes", ["alarm", "fault"])
    store.append([event(2), event(3, "alarm"), event(4), event(5, "fault")])
    waiting = store.waiting("mes", 10)
    assert ids(waiting) == ["id-3", "id-5"]
    store.told("mes", [waiting[0].seq])
    assert ids(store.waiting("mes", 10)) == ["id-5"]
    assert store.sinks()[0].waiting == 1


def test_other_topics_of_a_sink_do_not_bring_up_the_past(store):
    store.register("mes", ["alarm"])
    store.append([event(n) for n in range(5)])
    store.register("mes", ["alarm", "good"])
    assert store.waiting("mes", 10) == []
    store.append([event(9)])
    store.register("mes", ["good", "alarm"])
    assert ids(store.waiting("mes", 10)) == ["id-9"], "what waits is kept"


def test_what_is_set_aside_holds_nothing_up_and_can_be_put_back(store):
    store.register("mes", ["good"])
    store.append([event(n) for n in range(3)])
    first, second, _ = store.waiting("mes", 10)
    store.told("mes", [first.seq])
    store.put_aside("mes", second.seq, "it does not like it")
    assert ids(store.waiting("mes", 10)) == ["id-2"]
    state = store.sinks()[0]
    assert (state.waiting, state.set_aside, state.last_error) == (1, 1, "it does not like it")
    assert store.retry("mes") == 1
    (again,) = store.waiting("mes", 10)
    assert again.event.id == "id-1"
    store.told("mes", [again.seq])
    assert ids(store.waiting("mes", 10)) == ["id-2"] and store.retry() == 0


def test_failures_are_counted_and_forgotten(store):
    store.register("mes", ["good"])
    store.append([event(1)])
    store.failed("mes", "no route")
    store.failed("mes", "no route")
    assert store.sinks()[0].failures == 2 and store.sinks()[0].last_error == "no route"
    store.told("mes", [store.waiting("mes", 1)[0].seq])
    assert store.sinks()[0].failures == 0 and store.sinks()[0].last_error is None


def test_old_rows_are_deleted_but_none_that_a_sink_waits_for(store):
    store.register("mes", ["alarm"])
    store.append([event(n, "alarm" if n in (2, 5) else "good", what="defects") for n in range(6)])
    assert store.forget(before=4, most=100) == 3
    assert ids(store.select(Filter())) == ["id-2", "id-4", "id-5"]
    store.told("mes", [one.seq for one in store.waiting("mes", 2)])
    assert store.forget(before=4, most=100) == 1


def test_the_last_word_on_an_alarm_is_not_forgotten(store):
    store.append([event(n, "alarm", what="defects", state="raised" if n % 2 else "cleared") for n in range(4)])
    store.append([event(9, "fault", what="source", state="raised")])
    assert store.forget(before=100, most=100) == 3
    assert store.is_raised("alarm", "defects") and store.is_raised("fault", "source")


def test_a_mark_stays_what_it_was_first(store):
    assert store.mark("watching in", 5.0) == 5.0 == store.mark("watching in", 9.0)


def test_what_was_left_raised_is_known(store):
    assert not store.is_raised("alarm", "defects")
    store.append([event(1, "alarm", what="defects", state="raised"), event(2, "fault", what="source", state="raised")])
    assert store.is_raised("alarm", "defects") and not store.is_raised("fault", "frames")
    store.append([event(3, "fault", what="source", state="cleared")])
    assert not store.is_raised("fault", "source")


def test_it_syncs_at_every_commit(store):
    connection = store._connection
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_writers_on_threads_wait_for_each_other(tmp_path):
    Store(tmp_path, create=True).close()

    def write(start):
        with contextlib.closing(Store(tmp_path)) as opened:
            for n in range(start, start + 50):
                opened.append([event(n)])

    threads = [threading.Thread(target=write, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with contextlib.closing(Store(tmp_path)) as opened:
        assert len(list(opened.select(Filter()))) == 200


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_store_is_one_message(tmp_path, content):
    (tmp_path / STORE_FILE).write_bytes(content)
    with pytest.raises(EdgeLeatherError, match=r"the store cannot be used|expected a store of version"):
        Store(tmp_path)


def test_pages_that_are_damaged_behind_a_sound_head_are_one_message(tmp_path):
    with contextlib.closing(Store(tmp_path, create=True)) as store:
        store.append([event(n, article="x" * 500) for n in range(500)])
    path = tmp_path / STORE_FILE
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    for use in (
        lambda s: list(s.select(Filter())),
        lambda s: s.sinks(),
        lambda s: s.retry(),
        lambda s: s.forget(1e9, 5),
    ):
        with (
            pytest.raises(EdgeLeatherError, match="the store cannot be used"),
            contextlib.closing(Store(tmp_path)) as store,
        ):
            use(store)


def test_a_store_of_another_version_and_none_at_all_are_one_message(tmp_path):
    with pytest.raises(EdgeLeatherError, match="found none"):
        Store(tmp_path)
    Store(tmp_path, create=True).close()
    with contextlib.closing(sqlite3.connect(tmp_path / STORE_FILE)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(EdgeLeatherError, match="expected a store of version 2, got 7"):
        Store(tmp_path, create=True)
