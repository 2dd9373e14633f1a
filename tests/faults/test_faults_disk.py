"""Full disks: of the folder that documents are read in, of the storage, of the database."""

import psycopg
import pytest
from fix_corpus import MIDDLE, SHORT
from fix_disk import Disk
from fix_world import World
from psycopg import sql

from engine.local.account import new_account

pytestmark = pytest.mark.anyio


async def test_a_full_spool_folder_is_waited_for_and_charged_to_nobody(
    world: World, disk: Disk
) -> None:
    spool = world.settings.data_dir / "spool"
    spool.parent.mkdir(parents=True, exist_ok=True)
    rag = await world.load(*SHORT[:3])
    spool.rmdir()
    spool.symlink_to(disk.path)
    disk.fill()
    hand = world.hire()
    await hand.wait_for("source failed", count=3)
    assert {line["code"] for line in hand.lines("source failed")} == {"storage_unavailable"}
    disk.free()
    await world.expect_sound(rag)


async def test_a_full_disk_under_the_chunks_is_waited_for_and_charged_to_nobody(
    world: World, disk: Disk
) -> None:
    new_account().take(disk.path)
    place = sql.Literal(str(disk.path))
    name = sql.Identifier(f"small_{disk.path.name}")
    with psycopg.connect(world.admin_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE TABLESPACE {} LOCATION {}").format(name, place))
        admin.execute(sql.SQL("ALTER TABLE chunks SET TABLESPACE {}").format(name))
    disk.fill()
    hand = world.hire()
    rag = await world.load(*MIDDLE[:2])
    await hand.wait_for("source failed", count=2)
    assert {line["code"] for line in hand.lines("source failed")} == {"database_unavailable"}
    disk.free()
    await world.expect_sound(rag)
    with psycopg.connect(world.admin_url, autocommit=True) as admin:
        admin.execute("ALTER TABLE chunks SET TABLESPACE pg_default")
        admin.execute(sql.SQL("DROP TABLESPACE {}").format(name))
