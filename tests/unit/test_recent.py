from engine.recent import Recent


def test_what_was_put_counts_until_its_time_is_over() -> None:
    recent: Recent[str, int] = Recent(kept_s=10, kept_max=9)
    assert recent.get("a", now_s=0) is None
    recent.put("a", 1, now_s=0)
    assert recent.get("a", now_s=10) == 1
    assert recent.get("a", now_s=10.1) is None
    recent.put("a", 2, now_s=20)
    assert recent.get("a", now_s=25) == 2
    recent.forget("a")
    recent.forget("never put")
    assert recent.get("a", now_s=25) is None


def test_the_least_recently_put_give_way() -> None:
    recent: Recent[str, int] = Recent(kept_s=10, kept_max=2)
    for number, key in enumerate("abac"):
        recent.put(key, number, now_s=number)
    assert [recent.get(key, now_s=4) for key in "abc"] == [2, None, 3]
