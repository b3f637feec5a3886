"""What an erasure changes: rows of the landing, and with them rows of the clean layer. Nothing is written here.

Only the columns that may hold an identifier are read of every load; of rows that are touched, and of other versions of
the same records, everything. The clean layer then follows from the rows: what the touched keys are after the erasure
is what their remaining versions in the landing give, so that it equals a rebuild.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from orchestration.contracts import CONTRACTS, Contract
from orchestration.normalize.deduplicate import latest_versions
from orchestration.normalize.table import NormaliseContext, normalise
from orchestration.privacy.bytes_search import Searched, text_columns_holding
from orchestration.privacy.landed import IDENTIFYING, Mode, PlainMatcher, Screen, identifying_columns, table_hits
from orchestration.privacy.strings import Strings
from orchestration.privacy.subject import Subject
from orchestration.sources.config import SourceConfig
from orchestration.sources.landing import META_SCHEMA, Landing, Manifest, Part
from orchestration.warehouse.clean import CleanStore

_NUMBER = "_load_row"
_PART = "_part"
_BATCH_ROWS = 1_000_000
_BATCH_PARTS = 64


@dataclass
class LoadChange:
    """Rows of one load.

    Attributes:
        manifest: The load.
        source: Its source; None where it is configured no more.
        before: Rows that change, as they are, and unchanged versions of the same records.
        after: What stands in their place.
        rejects: Rows that could not be landed and mention the person.
    """

    manifest: Manifest
    source: SourceConfig | None
    before: pl.DataFrame
    after: pl.DataFrame
    rejects: int = 0

    @cached_property
    def numbers(self) -> list[int]:
        """Rows that change or leave; asked for once the plan is whole."""
        same = self.before.join(self.after, on=self.before.columns, how="anti", nulls_equal=True)
        return same[_NUMBER].sort().to_list()

    @property
    def deletions_are_content(self) -> bool:
        """Whether rows that say that a key is gone came from the source itself."""
        if self.source is None or self.manifest.stream not in self.source.streams:
            return True
        return self.source.streams[self.manifest.stream].deletes.strategy not in {"key_scan", "replaced_file"}


@dataclass
class TableChange:
    """Rows of one clean table.

    Attributes:
        keys: Keys that are made anew.
        partitions: Partitions that may hold them, by file name without suffix.
        after: What the keys are then, one row each; keys that are missing are gone.
        rows: Keys that are another than before, or gone.
    """

    keys: pl.DataFrame
    partitions: set[str]
    after: pl.DataFrame
    rows: int

    def joined(self, other: TableChange) -> TableChange:
        """Both, of different sources."""
        return TableChange(
            pl.concat([self.keys, other.keys]),
            self.partitions | other.partitions,
            pl.concat([self.after, other.after]),
            self.rows + other.rows,
        )


@dataclass
class Plan:
    """Everything that changes in landing and clean layer.

    Attributes:
        loads: Loads that change, or hold other versions of records that do.
        tables: Clean tables that change.
    """

    loads: list[LoadChange] = field(default_factory=list)
    tables: dict[str, TableChange] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Landed rows that change or leave."""
        return sum(len(load.numbers) + load.rejects for load in self.loads)


class Planner:
    """Works out a plan.

    Args:
        landing: The landing.
        store: The clean layer.
        sources: Configured sources, by name.
        key: Key of the pseudonyms.
        searched: Parts that hold nothing of the person, as a plan for the same person and with the same sources found;
            they are not looked at again, and those that are and hold nothing come to them.
    """

    def __init__(
        self,
        landing: Landing,
        store: CleanStore,
        sources: Mapping[str, SourceConfig],
        key: bytes,
        searched: Searched | None = None,
    ) -> None:
        self.landing = landing
        self.store = store
        self.sources = sources
        self.key = key
        self.searched = Searched() if searched is None else searched

    def plan(self, subject: Subject, mode: Mode) -> Plan:
        """What changes when ``subject`` is erased."""
        found = Plan()
        matcher = PlainMatcher(subject.by_namespace())
        landed = self._landed()
        whole = self._whole_loads(landed)
        marks = [mark.source for table in CONTRACTS for mark in self.store.merged_loads(table).values()]
        for name in sorted({*landed, *marks}):
            source = self.sources.get(name)
            streams = landed.get(name, [])
            screens = {
                stream: Screen(source, stream, matcher, mode, self.key)
                for stream in streams
                if source is not None and stream in source.streams
            }
            unmapped = self._unmapped_rows(name, matcher, whole)
            loads = {
                load: change
                for stream in streams
                for load, change in self._loads(
                    self.landing.manifests(name, stream), source, screens.get(stream), subject.strings, unmapped
                ).items()
            }
            if source is not None and any(change.before.height for change in loads.values()):
                self._add_versions(source, screens, loads, subject)

            def erased(rows: pl.DataFrame, table: str, name: str = name) -> pl.DataFrame:
                return _erased(rows, table, name, matcher=matcher, mode=mode, strings=subject.strings)

            self._add_tables(found, name, loads, erased, whole)
            found.loads += [loads[load] for load in sorted(loads)]
        return found

    def _landed(self) -> dict[str, list[str]]:
        """Streams that the landing holds, by source; those configured no more too."""
        found: dict[str, list[str]] = {}
        for folder in sorted(self.landing.root.glob("*/*/")):
            found.setdefault(folder.parent.name, []).append(folder.name)
        return found

    def _whole_loads(self, landed: Mapping[str, list[str]]) -> set[str]:
        """Loads whose rows are all there and can be mapped."""
        return {
            manifest.load_id
            for name, streams in landed.items()
            for stream in streams
            if name in self.sources and stream in self.sources[name].streams
            for manifest in self.landing.manifests(name, stream)
            if manifest.removed_at is None
        }

    def _lost(self, table: str, source: str, whole: set[str]) -> pl.LazyFrame | None:
        """Rows of a clean table that the landing cannot give again: retention removed them, or nothing maps them."""
        marks = self.store.merged_loads(table)
        lost = [load for load, mark in marks.items() if mark.source == source and load not in whole]
        if not lost:
            return None
        rows = self.store.scan(CONTRACTS[table], include_deleted=True)
        return rows.filter((pl.col("source") == source) & pl.col("load_id").is_in(lost))

    def _unmapped_rows(self, source: str, matcher: PlainMatcher, whole: set[str]) -> dict[str, set[int]]:
        """Landed rows of streams that are configured no more, as the clean layer names them; by load."""
        found: dict[str, set[int]] = {}
        for table in CONTRACTS:
            rows = self._lost(table, source, whole)
            if rows is None:
                continue
            read = rows.select("source_id", "load_id", "load_row", *identifying_columns(table)).collect()
            read = read.with_columns(is_of_table=pl.lit(value=True))
            for load, number in (
                read.filter(table_hits(matcher, source, table, read)).select("load_id", "load_row").rows()
            ):
                found.setdefault(load, set()).add(number)
        return found

    def _loads(
        self,
        manifests: Sequence[Manifest],
        source: SourceConfig | None,
        screen: Screen | None,
        strings: Strings,
        unmapped: Mapping[str, set[int]],
    ) -> dict[str, LoadChange]:
        """What changes in the loads of a stream."""
        found: dict[str, LoadChange] = {}
        touched: dict[str, set[int]] = {}
        parts = (
            (manifest, part)
            for manifest in manifests
            for part in manifest.parts
            if not self.searched.knows(manifest.folder / part.name)
        )
        for some in _batches(parts):
            for load, number in self._touched(some, screen, strings):
                touched.setdefault(load, set()).add(number)
        for manifest in manifests:
            numbers = touched.get(manifest.load_id, set())
            theirs = set() if screen is not None else unmapped.get(manifest.load_id, set())
            numbers |= theirs
            rejects = 0
            if manifest.rejects:
                rejects = int(_mentioned(self.landing.rejects(manifest).collect(), strings).sum())
            if not numbers and not rejects:
                continue
            before = self.landing.scan(manifest).filter(pl.col(_NUMBER).is_in(list(numbers))).collect()
            after = before.filter(~pl.col(_NUMBER).is_in(list(theirs)))
            after = after if screen is None else screen.apply(after)
            change = LoadChange(manifest, source, before, strings.mask_frame(after)[0], rejects)
            found[manifest.load_id] = change
        return found

    def _touched(
        self, parts: Sequence[tuple[Manifest, Part]], screen: Screen | None, strings: Strings
    ) -> list[tuple[str, int]]:
        """Load and number of each row that is the person's or mentions them."""
        found = [pl.DataFrame(schema={_PART: pl.Int32(), _NUMBER: pl.Int64()})]
        stamps = [self.searched.stamp(manifest.folder / part.name) for manifest, part in parts]
        if screen is not None and screen.compares:
            columns = parts[0][0].columns
            needed = columns if screen.fields is None else [name for name in columns if name in screen.fields]
            key_rows = self._together(parts).select(*needed, *META_SCHEMA, _PART).collect()
            found.append(key_rows.select(_PART, _NUMBER).filter(screen.hits(key_rows.drop(_PART))))
        for position, (manifest, part) in enumerate(parts):
            names = text_columns_holding(manifest.folder / part.name, strings) & {*manifest.columns, *META_SCHEMA}
            if names:
                scanned = self._together([(manifest, part)]).select(*sorted(names), _NUMBER)
                rows = scanned.filter(strings.candidates(names)).collect()
                changed = rows.join(strings.mask_frame(rows)[0], on=rows.columns, how="anti", nulls_equal=True)
                found.append(changed.select(pl.lit(position, dtype=pl.Int32).alias(_PART), _NUMBER))
        touched = pl.concat(found).unique()
        self.searched.add(stamp for number, stamp in enumerate(stamps) if number not in touched[_PART])
        return [(parts[position][0].load_id, number) for position, number in touched.rows()]

    def _together(self, parts: Sequence[tuple[Manifest, Part]]) -> pl.LazyFrame:
        """Rows of several parts with equal columns, with the position of the part."""
        return pl.concat(
            self.landing.scan(manifest, [part]).with_columns(pl.lit(position, dtype=pl.Int32).alias(_PART))
            for position, (manifest, part) in enumerate(parts)
        )

    def _add_versions(
        self, source: SourceConfig, screens: Mapping[str, Screen], loads: dict[str, LoadChange], subject: Subject
    ) -> None:
        """Other versions of the touched records: their landed rows, which stay as they are."""
        known = subject.by_namespace()
        for table in {table for screen in screens.values() for table in screen.config.tables}:
            touched: set[str] = set()
            for change in loads.values():
                screen = screens.get(change.manifest.stream)
                if screen is not None and table in screen.config.tables and screen.key_fields(table) is not None:
                    keys = set(screen.keys(table, change.before).drop_nulls())
                    # Every version of a record that is the person's own was found by its key already.
                    own = {
                        key
                        for other in screen.config.tables
                        if screen.key_fields(other) == screen.key_fields(table)
                        for key in known.get(f"record/{other}/{source.source}", ())
                    }
                    touched |= keys - own
            if not touched:
                continue
            for stream, screen in screens.items():
                if table not in screen.config.tables or (fields := screen.key_fields(table)) is None:
                    continue
                manifests = [
                    manifest
                    for manifest in self.landing.manifests(source.source, stream)
                    if manifest.removed_at is None and fields <= set(manifest.columns)
                ]
                for some in _batches((manifest, part) for manifest in manifests for part in manifest.parts):
                    candidates = self._together(some).filter(screen.may_have_key(table, touched))
                    key_rows = candidates.select(*fields, *META_SCHEMA, _PART).collect()
                    is_version = screen.keys(table, key_rows.drop(_PART)).is_in(list(touched)).fill_null(value=False)
                    for (position,), versions in key_rows.filter(is_version).group_by(_PART):
                        self._add_rows(loads, some[int(str(position))][0], source, set(versions[_NUMBER]))

    def _add_rows(
        self, loads: dict[str, LoadChange], manifest: Manifest, source: SourceConfig, numbers: set[int]
    ) -> None:
        """Rows that stay as they are, beside those of a load that change."""
        change = loads.get(manifest.load_id)
        more = numbers - (set() if change is None else set(change.before[_NUMBER]))
        if not more:
            return
        others = self.landing.scan(manifest).filter(pl.col(_NUMBER).is_in(list(more))).collect()
        if change is None:
            loads[manifest.load_id] = LoadChange(manifest, source, others, others)
        else:
            change.before = pl.concat([change.before, others])
            change.after = pl.concat([change.after, others])

    def _add_tables(
        self,
        found: Plan,
        name: str,
        loads: Mapping[str, LoadChange],
        erased: Callable[[pl.DataFrame, str], pl.DataFrame],
        whole: set[str],
    ) -> None:
        """Clean rows of a source: what the touched landed rows give, and rows that the landing cannot give again."""
        parts: dict[str, list[tuple[pl.DataFrame, pl.DataFrame]]] = {}
        source = self.sources.get(name)
        if source is not None and loads:
            questions = self.store.scan(CONTRACTS["question"]).filter(pl.col("source") == name).collect()
            for stream, config in source.streams.items():
                changes = [
                    change
                    for change in loads.values()
                    if change.manifest.stream == stream and change.before.height and change.manifest.removed_at is None
                ]
                if not changes:
                    continue
                # Which keys are touched does not depend on the load, so that rows of the same columns go together.
                alike: dict[tuple[str, ...], list[LoadChange]] = {}
                for change in changes:
                    alike.setdefault(change.manifest.columns, []).append(change)
                for table in config.tables:
                    touched = [
                        self.normalised(
                            table, source, some[0].manifest, pl.concat([change.before for change in some]), questions
                        )[0]
                        for some in alike.values()
                    ]
                    made_anew = [
                        self.normalised(table, source, change.manifest, change.after, questions)[0]
                        for change in changes
                        if change.after.height
                    ]
                    before = pl.concat(touched)
                    parts.setdefault(table, []).append((before, pl.concat([before.clear(), *made_anew])))
        for table, contract in CONTRACTS.items():
            frames = parts.get(table, [])
            keys = pl.concat([contract_keys(table, frame) for frame, _ in frames]) if frames else None
            if (lost := self._lost(table, name, whole)) is not None:
                frames.append(_lost_change(lost.collect(), table, erased, keys))
            before = pl.concat([frame for frame, _ in frames]) if frames else pl.DataFrame()
            if before.is_empty():
                continue
            after = latest_versions(contract, pl.concat([frame for _, frame in frames]).lazy()).collect()
            latest = latest_versions(contract, before.lazy()).collect()
            made = TableChange(
                keys=before.select(contract.key).unique(),
                partitions=self._partitions(table, before),
                after=after,
                rows=latest.join(after, on=[*contract.key, "row_hash"], how="anti").height,
            )
            found.tables[table] = made if table not in found.tables else found.tables[table].joined(made)

    def normalised(
        self,
        table: str,
        source: SourceConfig,
        manifest: Manifest,
        rows: pl.DataFrame,
        questions: pl.DataFrame | None = None,
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows and rejects that landed rows of a load give in a table."""
        config = source.streams[manifest.stream]
        if questions is None:
            questions = self.store.scan(CONTRACTS["question"]).filter(pl.col("source") == source.source).collect()
        context = NormaliseContext(
            source=source.source,
            stream=manifest.stream,
            load_id=manifest.load_id,
            extracted_at=manifest.extracted_at,
            timezone=source.timezone,
            primary_key=config.primary_key,
            questions=questions if table == "answer" else None,
        )
        return normalise(CONTRACTS[table], rows.lazy(), config.tables[table], context).collect()

    def _partitions(self, table: str, rows: pl.DataFrame) -> set[str]:
        contract = CONTRACTS[table]
        numbers = self.store.with_partition(contract, rows)["_partition"].unique().to_list()
        return {self.store.partition_name(contract, number) for number in numbers}


def _batches(parts: Iterable[tuple[Manifest, Part]]) -> Iterator[list[tuple[Manifest, Part]]]:
    """Parts that are read together: of loads of equal columns, and not too many rows."""
    some: list[tuple[Manifest, Part]] = []
    rows = 0
    for manifest, part in parts:
        if some and (
            manifest.columns != some[0][0].columns or len(some) == _BATCH_PARTS or rows + part.rows > _BATCH_ROWS
        ):
            yield some
            some, rows = [], 0
        some.append((manifest, part))
        rows += part.rows
    if some:
        yield some


def contract_keys(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The key of each row, once."""
    return rows.select(CONTRACTS[table].key).unique()


def _lost_change(
    rows: pl.DataFrame, table: str, erased: Callable[[pl.DataFrame, str], pl.DataFrame], keys: pl.DataFrame | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of rows that the landing cannot give again, those that change or are versions of ``keys``: before and after."""
    key = CONTRACTS[table].key
    after = erased(rows, table)
    touched = rows.join(after, on=rows.columns, how="anti", nulls_equal=True).select(key)
    touched = touched if keys is None else pl.concat([touched, keys])
    return tuple(frame.join(touched.unique(), on=key, how="semi") for frame in (rows, after))  # type: ignore[return-value]


def _erased(
    rows: pl.DataFrame, table: str, source: str, *, matcher: PlainMatcher, mode: Mode, strings: Strings
) -> pl.DataFrame:
    """Clean rows of a source without the person, or without what identifies."""
    contract = CONTRACTS[table]
    read = rows.select("source_id", *identifying_columns(table)).with_columns(is_of_table=pl.lit(value=True))
    hits = table_hits(matcher, source, table, read)
    if mode is Mode.DELETE or table == "customer":
        rows = rows.filter(~hits)
    else:
        blank = [column.name for column in contract.columns if column.pii in IDENTIFYING and not column.required]
        rows = rows.with_columns(pl.when(hits).then(None).otherwise(pl.col(name)).alias(name) for name in blank)
        rows = rows.filter(~hits) if table == "comment" else rows
    masked = strings.mask_frame(rows, [column.name for column in contract.columns] + ["attributes"])[0]
    return masked


def apply_to_clean(store: CleanStore, tables: Mapping[str, TableChange]) -> None:
    """Make the touched keys of clean tables anew; may be repeated at any point."""
    for table, change in tables.items():
        contract = CONTRACTS[table]
        after = store.with_partition(contract, change.after)
        used: set[int] = set()

        def anew(
            rows: pl.DataFrame,
            contract: Contract = contract,
            after: pl.DataFrame = after,
            keys: pl.DataFrame = change.keys,
            used: set[int] = used,
        ) -> pl.DataFrame:
            number = store.with_partition(contract, rows.head(1))["_partition"].item()
            used.add(number)
            ours = after.filter(pl.col("_partition") == number).select(rows.columns)
            return pl.concat([rows.join(keys, on=contract.key, how="anti"), ours])

        store.rewrite(contract, anew, change.partitions)
        rest = after.filter(~pl.col("_partition").is_in(list(used))).select(list(contract.schema))
        if rest.height:
            store.merge(contract, rest)


def _mentioned(rejects: pl.DataFrame, strings: Strings) -> pl.Series:
    texts = ["text", "reason"]
    maybe = (
        rejects.with_row_index("n").filter(strings.candidates(texts))
        if strings
        else rejects.with_row_index("n").head(0)
    )
    hits = [
        number
        for number, text, reason in maybe.select("n", "text", "reason").iter_rows()
        if strings.found(text or "") or strings.found(reason or "")
    ]
    return pl.int_range(rejects.height, eager=True).is_in(hits)


def masked_rejects(rejects: pl.DataFrame, strings: Strings) -> pl.DataFrame:
    """Rows that could not be landed, without the text of those that mention the person."""
    hits = _mentioned(rejects, strings)
    return strings.mask_frame(rejects.with_columns(pl.when(hits).then(None).otherwise(pl.col("text")).alias("text")))[0]
